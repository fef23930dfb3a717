//go:build linux

package torture

import (
	"bytes"
	"slices"
	"sync"
)

// kept is how many lines of a process are kept, and how many bytes of a line.
const (
	keptLines = 60
	keptBytes = 500
)

// cries are how the lines begin with which a Go program dies of a mistake.
var cries = [][]byte{[]byte("panic: "), []byte("fatal error: "), []byte("WARNING: DATA RACE")}

// tail is what a process says: the last lines, and the cries with what follows
// each of them.
type tail struct {
	mu    sync.Mutex
	line  []byte // not ended yet
	lines []string
	cried []string // the first cry and the lines after it
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		if room := keptBytes - len(t.line); room > 0 {
			t.line = append(t.line, line[:min(room, len(line))]...)
		}
		if ended {
			t.add()
		}
		b = rest
	}
	return n, nil
}

// add ends the line. t.mu is held.
func (t *tail) add() {
	crying := len(t.cried) > 0 || slices.ContainsFunc(cries, func(c []byte) bool { return bytes.HasPrefix(t.line, c) })
	if crying && len(t.cried) < keptLines {
		t.cried = append(t.cried, string(t.line))
	}
	t.lines = append(t.lines, string(t.line))
	if len(t.lines) > keptLines {
		t.lines = t.lines[1:]
	}
	t.line = t.line[:0]
}

// last returns the last lines.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// cries returns the first cry and what followed it.
func (t *tail) cry() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.cried)
}
