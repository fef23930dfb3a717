//go:build linux

package powercut

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// page is never changed once it is in both views: a writer makes a new one.
type page = [pageSize]byte

// inode is a file, a directory or a symbolic link, in both views.
type inode struct {
	number   uint64
	mode     uint32 // type and permissions
	uid, gid uint32
	links    int // in the live view
	atime    time.Time
	mtime    time.Time
	target   string // of a symbolic link

	live, durable content

	// dirty are the pages that differ, or may.
	dirty map[int64]struct{}
	// cut is the smallest size that the file was truncated to since it was synced,
	// or -1. A page from there on is in blocks that the image has not given to the
	// file yet: it cannot be written back before the truncation is.
	cut int64

	// Of a directory.
	names, keptNames map[string]*inode
}

// content is a file as one of the views has it; a page that is nil is zeros.
type content struct {
	pages []*page
	size  int64
}

func pagesOf(size int64) int64 { return (size + pageSize - 1) / pageSize }

func (c *content) page(i int64) *page {
	if i < int64(len(c.pages)) {
		return c.pages[i]
	}
	return nil
}

func (c *content) set(i int64, p *page) {
	if i >= int64(len(c.pages)) {
		if p == nil {
			return
		}
		c.pages = append(c.pages, make([]*page, i+1-int64(len(c.pages)))...)
	}
	c.pages[i] = p
}

// read copies what is at off into dest and returns how much there is.
func (c *content) read(dest []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	dest = dest[:min(int64(len(dest)), c.size-off)]
	for done := 0; done < len(dest); {
		i, within := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		part := dest[done:min(len(dest), done+int(pageSize-within))]
		if p := c.page(i); p != nil {
			copy(part, p[within:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(dest)
}

// write writes into the live view. Now and then a page goes to the image at
// once, as the kernel's write-back does it, so that an image may hold what was
// overwritten since.
func (n *inode) write(data []byte, off int64, dice *rand.Rand) {
	for done := 0; done < len(data); {
		i, within := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		old, fresh := n.live.page(i), new(page)
		if old != nil {
			*fresh = *old
		}
		done += copy(fresh[within:], data[done:])
		n.live.set(i, fresh)
		n.dirty[i] = struct{}{}
		if dice != nil && dice.IntN(32) == 0 && (n.cut < 0 || i < n.cut/pageSize) {
			n.durable.set(i, fresh)
		}
	}
	n.live.size = max(n.live.size, off+int64(len(data)))
	n.mtime = time.Now()
}

// truncate sets the size of the live view.
func (n *inode) truncate(size int64) {
	if size < n.live.size {
		for i := pagesOf(size); i < int64(len(n.live.pages)); i++ {
			n.dirty[i] = struct{}{}
		}
		n.live.shrink(size)
		if i := size / pageSize; size%pageSize != 0 {
			n.dirty[i] = struct{}{}
		}
		if n.cut < 0 || size < n.cut {
			n.cut = size
		}
	}
	n.live.size = size
	n.mtime = time.Now()
}

// shrink drops what is after size, so that a file that grows again reads zeros there.
func (c *content) shrink(size int64) {
	if n := pagesOf(size); n < int64(len(c.pages)) {
		clear(c.pages[n:])
		c.pages = c.pages[:n]
	}
	if within := size % pageSize; within != 0 {
		if p := c.page(size / pageSize); p != nil {
			rest := new(page)
			copy(rest[:], p[:within])
			c.pages[size/pageSize] = rest
		}
	}
	c.size = size
}

// sync makes the content durable.
func (n *inode) sync() {
	if n.cut >= 0 {
		n.durable.shrink(min(n.cut, n.durable.size))
	}
	for i := range n.dirty {
		n.durable.set(i, n.live.page(i))
	}
	n.durable.size = n.live.size
	n.clean()
}

func (n *inode) clean() {
	clear(n.dirty)
	n.cut = -1
}

// crash lets some of what was not synced survive, and forgets the rest.
func (n *inode) crash(dice *rand.Rand, loss *Loss) {
	cut := n.cut >= 0 && dice.IntN(2) == 0
	limit := int64(1)<<62 - 1 // pages before it may survive
	switch {
	case cut:
		n.durable.shrink(min(n.cut, n.durable.size))
	case n.cut >= 0:
		limit = n.cut / pageSize
	}
	share := dice.Float64()                               // of this file: from nothing to everything
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) { // in order: the dice are a sequence
		p := n.live.page(i)
		switch {
		case p == n.durable.page(i):
		case p == nil || i >= limit || dice.Float64() >= share:
			loss.Lost++
		case dice.IntN(4) == 0:
			n.durable.set(i, tear(n.durable.page(i), p, dice))
			loss.Kept++
			loss.Torn++
		default:
			n.durable.set(i, p)
			loss.Kept++
		}
	}
	if n.cut < 0 || cut {
		if grown := n.live.size - n.durable.size; grown > 0 {
			switch dice.IntN(3) {
			case 0:
				n.durable.size += dice.Int64N(grown)
			case 1:
				n.durable.size = n.live.size
			}
		}
	}
	n.clean()
}

// tear returns a page of which some sectors are new.
func tear(old, fresh *page, dice *rand.Rand) *page {
	torn := new(page)
	if old != nil {
		*torn = *old
	}
	for at := 0; at < pageSize; at += sectorSize {
		if dice.IntN(2) == 0 {
			copy(torn[at:at+sectorSize], fresh[at:])
		}
	}
	return torn
}

// restart makes the live view what the durable one is.
func (n *inode) restart() {
	n.durable.shrink(n.durable.size)
	n.live = content{pages: append([]*page(nil), n.durable.pages...), size: n.durable.size}
	n.clean()
}
