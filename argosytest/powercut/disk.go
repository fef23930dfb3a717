//go:build linux

package powercut

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// disk holds both views. One lock serializes everything: an operation is wholly
// before a cut or not at all.
type disk struct {
	config Config
	mu     sync.Mutex
	dice   *rand.Rand
	root   *inode
	last   uint64   // number of an inode
	log    []change // of names, not durable yet
	off    chan struct{}
	dead   chan struct{} // closed: nobody is left who could see an error
}

// change is one change of names, atomic in both views.
type change []binding

// binding is a name with what it means from now on; nil: nothing.
type binding struct {
	dir  *inode
	name string
	to   *inode
}

func newDisk(c Config) *disk {
	d := &disk{config: c, dice: rand.New(rand.NewPCG(c.Seed, 0))}
	d.root = d.make(syscall.S_IFDIR | 0o755)
	d.root.links = 2
	d.power()
	return d
}

// power turns it on.
func (d *disk) power() { d.off, d.dead = make(chan struct{}), make(chan struct{}) }

// enter takes the lock, or waits for the end of the program when the power is off.
func (d *disk) enter(ctx context.Context) syscall.Errno {
	d.mu.Lock()
	off, dead := d.off, d.dead
	select {
	case <-off:
		d.mu.Unlock()
	default:
		return 0
	}
	select {
	case <-dead:
	case <-ctx.Done():
		return syscall.EINTR
	}
	return syscall.EIO
}

// make returns a fresh inode.
func (d *disk) make(mode uint32) *inode {
	d.last++
	now := time.Now()
	n := &inode{number: d.last, mode: mode, links: 1, atime: now, mtime: now, dirty: map[int64]struct{}{}, cut: -1}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.links = 2
		n.names, n.keptNames = map[string]*inode{}, map[string]*inode{}
	}
	return n
}

// change makes a change of names in the live view and remembers it.
func (d *disk) change(c change) {
	for _, b := range c {
		bind(b.dir.names, b)
		b.dir.mtime = time.Now()
	}
	d.log = append(d.log, c)
}

func bind(names map[string]*inode, b binding) {
	if b.to == nil {
		delete(names, b.name)
	} else {
		names[b.name] = b.to
	}
}

// keep makes a change durable.
func (c change) keep() {
	for _, b := range c {
		bind(b.dir.keptNames, b)
	}
}

// concerns reports whether the change is of a name in n, or of n.
func (c change) concerns(n *inode) bool {
	return slices.ContainsFunc(c, func(b binding) bool { return b.dir == n || b.to == n })
}

// sync is an fsync of n.
func (d *disk) sync(n *inode) {
	if n.names == nil {
		n.sync()
	}
	switch {
	case d.config.Names == Ordered:
		upTo := 0
		for i, c := range d.log {
			if c.concerns(n) {
				upTo = i + 1
			}
		}
		for _, c := range d.log[:upTo] {
			c.keep()
		}
		d.log = slices.Delete(d.log, 0, upTo)
	case n.names != nil:
		d.syncNames(n)
	}
}

// syncNames makes the names in dir durable, and with them those of directories
// that a rename has tied to it.
func (d *disk) syncNames(dir *inode) {
	tied := map[*inode]bool{dir: true}
	for grown := true; grown; {
		grown = false
		for _, c := range d.log {
			if !c.in(tied) {
				continue
			}
			for _, b := range c {
				grown = grown || !tied[b.dir]
				tied[b.dir] = true
			}
		}
	}
	d.log = slices.DeleteFunc(d.log, func(c change) bool {
		if !c.in(tied) {
			return false
		}
		c.keep()
		return true
	})
}

// in reports whether the change is of a name in one of the directories.
func (c change) in(dirs map[*inode]bool) bool {
	return slices.ContainsFunc(c, func(b binding) bool { return dirs[b.dir] })
}

// cut turns the power off and decides what has survived.
func (d *disk) cut() Loss {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.off)
	var loss Loss
	d.cutNames(&loss)
	seen := map[*inode]bool{}
	var walk func(n *inode)
	walk = func(n *inode) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.names != nil {
			for _, name := range slices.Sorted(maps.Keys(n.keptNames)) {
				walk(n.keptNames[name])
			}
			return
		}
		if d.config.Clean {
			loss.Lost += len(n.dirty)
			n.clean()
			return
		}
		n.crash(d.dice, &loss)
	}
	walk(d.root)
	return loss
}

// cutNames lets some changes of names survive: in each directory the first few.
func (d *disk) cutNames(loss *Loss) {
	over := map[*inode]bool{} // nothing later survives in these
	for _, c := range d.log {
		if d.config.Clean || c.in(over) || d.dice.IntN(4) == 0 {
			loss.NamesLost++
			for _, b := range c {
				over[b.dir] = true
			}
			if d.config.Names == Ordered { // the end of the journal
				for _, later := range d.log {
					for _, b := range later {
						over[b.dir] = true
					}
				}
			}
			continue
		}
		c.keep()
		loss.NamesKept++
	}
	d.log = nil
}

// restart turns the power on: the live view is what was durable.
func (d *disk) restart() {
	d.mu.Lock()
	defer d.mu.Unlock()
	links := map[*inode]int{}
	var walk func(n *inode)
	walk = func(n *inode) {
		n.names = map[string]*inode{}
		n.links = 2
		for name, to := range n.keptNames {
			n.names[name] = to
			if to.keptNames != nil {
				n.links++
				walk(to)
				continue
			}
			if links[to]++; links[to] == 1 {
				to.restart()
			}
			to.links = links[to]
		}
	}
	walk(d.root)
	d.power()
}
