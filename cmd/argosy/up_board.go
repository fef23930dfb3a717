package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// redraw is how often a terminal is drawn anew, at most.
const redraw = 200 * time.Millisecond

// board is what argosy up shows: the lines of all processes and, on a terminal,
// a table of them below, which is drawn over and over. Safe for concurrent use.
type board struct {
	screen *screen
	json   bool
	width  int // of the names
	table  func(*screen) error

	mu      sync.Mutex
	pending bytes.Buffer // lines that are not shown yet; on a terminal only
	drawn   int          // lines of the table that are on the terminal
	last    string       // the table that is on the terminal
	stop    chan struct{}
	drawing sync.WaitGroup
}

// newBoard returns a board for processes of these names. table prints the table.
func newBoard(s *screen, asJSON bool, names []string, table func(*screen) error) *board {
	b := &board{screen: s, json: asJSON, table: table, stop: make(chan struct{})}
	for _, n := range names {
		b.width = max(b.width, len(n))
	}
	if b.live() {
		b.drawing.Go(b.draw)
	}
	return b
}

// live reports whether there is a table that is drawn over.
func (b *board) live() bool { return b.screen.terminal() && !b.json }

// draw draws the terminal until the board is closed.
func (b *board) draw() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			b.show(false)
			return
		case <-tick.C:
			b.show(true)
		}
	}
}

// close shows what is pending and takes the table away.
func (b *board) close() {
	close(b.stop)
	b.drawing.Wait()
}

// show writes the pending lines where the table was, and the table below them.
func (b *board) show(withTable bool) {
	table := ""
	if withTable {
		table = b.render()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending.Len() == 0 && table == b.last {
		return
	}
	var out bytes.Buffer
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\r\x1b[J", b.drawn)
	}
	out.Write(b.pending.Bytes())
	out.WriteString(table)
	b.pending.Reset()
	b.drawn, b.last = strings.Count(table, "\n"), table
	_, _ = b.screen.out.Write(out.Bytes()) // a terminal that has gone has nobody to tell
}

// render returns the table, or nothing where the terminal has no room for it
// and some lines.
func (b *board) render() string {
	var text bytes.Buffer
	s := *b.screen
	s.out = &text
	height := 24
	if f, ok := b.screen.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			s.width, height = w, h
		}
	}
	text.WriteByte('\n')
	if err := b.table(&s); err != nil || strings.Count(text.String(), "\n") > height-4 {
		return ""
	}
	for line := range strings.Lines(text.String()) {
		if seen(plainText(line))-1 > s.width { // it would take two lines, and be drawn over in part
			return ""
		}
	}
	return text.String()
}

// plainText returns a text without its colours.
func plainText(text string) string {
	var b strings.Builder
	for text != "" {
		at := strings.Index(text, "\x1b[")
		if at < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:at])
		text = text[at+max(1, len(colourSequence(text[at:]))):]
	}
	return b.String()
}

// entry is a line of --output json.
type entry struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // log, state, ready, note, stopped
	Name  string    `json:"name,omitempty"`
	Line  string    `json:"line,omitempty"`
	*member
	Took float64 `json:"seconds,omitempty"`
}

// event shows something that is not a process's own line: text for people, e
// for programs.
func (b *board) event(e entry, text string) {
	if !b.json {
		b.line("argosy", text, bold)
		return
	}
	e.Time = time.Now()
	line, err := json.Marshal(e)
	if err != nil {
		return // an entry holds nothing that cannot be encoded
	}
	b.write(append(line, '\n'))
}

// log shows a line that a process has printed.
func (b *board) log(name, line, style string) {
	if b.json {
		b.event(entry{Event: "log", Name: name, Line: line}, "")
		return
	}
	b.line(name, line, style)
}

func (b *board) line(name, text, style string) {
	padded := name
	if b.screen.terminal() {
		padded += strings.Repeat(" ", max(0, b.width-len(name)))
	}
	var out strings.Builder
	for part := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(&out, "%s %s\n", b.screen.styled(padded+" |", style), printable(part, b.screen.colour))
	}
	b.write([]byte(out.String()))
}

// write puts lines where they belong.
func (b *board) write(lines []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live() {
		b.pending.Write(lines)
		return
	}
	_, _ = b.screen.out.Write(lines) // a pipe that was closed has nobody to tell
}

// longestLine is what is shown of a line in one piece.
const longestLine = 64 << 10

// lines is a writer that shows what a process prints, line by line. It has one
// user at a time.
type lines struct {
	board       *board
	name, style string
	rest        []byte
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 && len(l.rest) < longestLine {
			return len(p), nil
		}
		skip := 1
		if end < 0 || end > longestLine {
			end, skip = longestLine, 0
		}
		if line := strings.TrimRight(string(l.rest[:end]), "\r"); line != "" {
			l.board.log(l.name, line, l.style)
		}
		l.rest = l.rest[end+skip:]
	}
}

var _ io.Writer = (*lines)(nil)

// printable makes a line of a process harmless on a terminal, but leaves the
// colours in it where there are colours. A tab stays one.
func printable(line string, colour bool) string {
	var b strings.Builder
	for line != "" {
		at := strings.IndexAny(line, "\x1b\t")
		if at < 0 {
			b.WriteString(escape(line))
			break
		}
		b.WriteString(escape(line[:at]))
		n := 1
		switch sequence := colourSequence(line[at:]); {
		case line[at] == '\t':
			b.WriteByte('\t')
		case sequence == "":
			b.WriteString(escape(line[at : at+1]))
		default:
			n = len(sequence)
			if colour {
				b.WriteString(sequence)
			}
		}
		line = line[at+n:]
	}
	return b.String()
}

// colourSequence returns the escape sequence at the start of text if it does no
// more than choose colours and styles (SGR of ECMA-48), "" otherwise.
func colourSequence(text string) string {
	if !strings.HasPrefix(text, "\x1b[") {
		return ""
	}
	for i := 2; i < len(text); i++ {
		switch c := text[i]; {
		case c == 'm':
			return text[:i+1]
		case (c < '0' || c > '9') && c != ';':
			return ""
		}
	}
	return ""
}
