package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrClosed is what an append to a closed ledger gets.
var ErrClosed = errors.New("ledger: closed")

// Entry is one line of a ledger. The zero value of a field means that it does
// not apply to the kind.
type Entry struct {
	// Seq counts the entries of the file from 1, without gaps.
	Seq int64 `json:"seq"`
	// Unsynced is the number of the first entry that was not known to be on disk
	// when this one was appended: a power cut may have taken it and anything
	// after it, in no order, while this one survived. 0: not known.
	Unsynced int64 `json:"unsynced,omitempty"`
	// Time is when the entry was decided, by the witness's clock.
	Time time.Time `json:"time"`
	// Kind is what was asked for: "authorize", "capture", "book", …, or
	// [Notified].
	Kind string `json:"kind"`
	// Outcome is what came of it: "captured", "refused", "nothing", ….
	Outcome string `json:"outcome,omitempty"`
	// Reference is the caller's name of the thing: an order's id.
	Reference string `json:"reference,omitempty"`
	// ID is the witness's own name of the thing.
	ID string `json:"id,omitempty"`
	// Amount is in minor units of Currency: what this entry moved, or would
	// have moved if it was refused.
	Amount   int64  `json:"amount,omitempty"`
	Currency string `json:"currency,omitempty"`
	// Token is the card token of an authorization.
	Token string `json:"token,omitempty"`
	// Due are the instants at which what the entry promises happens.
	Due []time.Time `json:"due,omitempty"`
	// Key is the idempotency key, Request the fingerprint of the request that
	// came with it, Status and Reply the answer that it got and gets again.
	Key     string          `json:"key,omitempty"`
	Request string          `json:"request,omitempty"`
	Status  int             `json:"status,omitempty"`
	Reply   json.RawMessage `json:"reply,omitempty"`
}

// Notified is the kind of the notes that a webhook, named by ID, needs no
// more deliveries.
const Notified = "notified"

// Ledger is an open book. All methods may be used concurrently.
type Ledger struct {
	file *os.File
	wake chan struct{}
	done chan struct{}

	mu      sync.Mutex
	seq     int64
	synced  int64 // entries known to be on disk
	durable int64 // bytes known to be written
	open    *group
	spare   []byte
	closed  bool
	err     error // the first failure; the ledger takes nothing after it
}

// group is what one write and one fsync put on disk.
type group struct {
	buf  []byte
	last int64 // the number of its last entry
	sync bool
	done chan struct{}
	err  error
}

// Receipt stands for an entry on its way to the disk.
type Receipt struct {
	// Seq is the number the entry was given; 0 when it was not taken.
	Seq   int64
	group *group
}

// Wait returns when the entry is on disk, or with the reason why that is not
// known. The zero Receipt is of something already there.
func (r Receipt) Wait() error {
	if r.group == nil {
		return nil
	}
	<-r.group.done
	return r.group.err
}

// Open opens the ledger at path, creates it if need be, cuts a torn tail and
// returns the entries it holds. The caller keeps other writers away.
func Open(path string) (*Ledger, []Entry, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open ledger: %w", err)
	}
	entries, size, err := restore(file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open ledger %s: %w", path, err), file.Close())
	}
	l := &Ledger{
		file: file, wake: make(chan struct{}, 1), done: make(chan struct{}),
		seq: int64(len(entries)), synced: int64(len(entries)), durable: size, open: newGroup(nil),
	}
	go l.run()
	return l, entries, nil
}

// restore reads the entries, cuts what follows them and makes the cut and the
// file's name durable.
func restore(file *os.File) ([]Entry, int64, error) {
	entries, size, err := scan(file)
	if err != nil {
		return nil, 0, err
	}
	if err := file.Truncate(size); err != nil {
		return nil, 0, fmt.Errorf("cut the torn tail: %w", err)
	}
	if _, err := file.Seek(size, 0); err != nil {
		return nil, 0, err
	}
	if err := file.Sync(); err != nil {
		return nil, 0, err
	}
	return entries, size, syncDir(filepath.Dir(file.Name()))
}

func newGroup(buf []byte) *group {
	return &group{buf: buf[:0], done: make(chan struct{})}
}

// Append numbers the entry and puts it in line; entries reach the disk in the
// order of their Append calls. It does not wait: the receipt does.
func (l *Ledger) Append(e Entry) Receipt { return l.add(e, true) }

// Note is Append for an entry that may be lost in a power cut: it is written
// soon, and costs no fsync of its own.
func (l *Ledger) Note(e Entry) Receipt { return l.add(e, false) }

func (l *Ledger) add(e Entry, durable bool) Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return failed(err)
	}
	e.Seq, e.Unsynced = l.seq+1, l.synced+1
	line, err := json.Marshal(e)
	if err != nil {
		return failed(fmt.Errorf("ledger: encode %s: %w", e.Kind, err))
	}
	if len(line) >= maxLine {
		return failed(fmt.Errorf("ledger: an entry of %d bytes is too long", len(line)))
	}
	l.seq = e.Seq
	g := l.open
	g.buf = append(append(g.buf, line...), '\n')
	g.last = e.Seq
	g.sync = g.sync || durable
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return Receipt{Seq: e.Seq, group: g}
}

func (l *Ledger) refusal() error {
	if l.err != nil {
		return l.err
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

func failed(err error) Receipt {
	g := &group{done: make(chan struct{}), err: err}
	close(g.done)
	return Receipt{group: g}
}

// Barrier returns a receipt for all that was appended so far.
func (l *Ledger) Barrier() Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return failed(err)
	}
	g := l.open
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return Receipt{group: g}
}

// Err says why the ledger takes nothing more; nil while it does.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusal()
}

// Path is the name of the file.
func (l *Ledger) Path() string { return l.file.Name() }

// Size is how many bytes of whole entries the file is known to hold.
func (l *Ledger) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Close writes what was appended and closes the file. A second Close does
// nothing.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.done
		return nil
	}
	l.closed = true
	close(l.wake)
	l.mu.Unlock()
	<-l.done
	return l.file.Close()
}

// run writes groups until the ledger is closed.
func (l *Ledger) run() {
	defer close(l.done)
	for range l.wake {
		l.flush()
	}
	l.flush()
}

// flush puts the open group on disk. While it does, the next one gathers.
func (l *Ledger) flush() {
	l.mu.Lock()
	g := l.open
	l.open = newGroup(l.spare)
	l.spare = nil
	err := l.err
	l.mu.Unlock()

	size := len(g.buf)
	if err == nil {
		err = l.put(g)
	}
	l.mu.Lock()
	if err == nil {
		l.durable += int64(size)
		if g.sync && size > 0 {
			l.synced = g.last
		}
	} else if l.err == nil {
		l.err = fmt.Errorf("ledger: %w", err)
	}
	g.err = l.err
	l.spare, g.buf = g.buf, nil
	l.mu.Unlock()
	close(g.done)
}

func (l *Ledger) put(g *group) error {
	if len(g.buf) == 0 {
		return nil
	}
	if _, err := l.file.Write(g.buf); err != nil {
		return err
	}
	if !g.sync {
		return nil
	}
	return l.file.Sync()
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
