package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is where results go. On a terminal, tables are cut to its width, times
// are relative and states have colours; into a pipe or a file everything is
// whole, times are RFC 3339 in UTC, and the same answer gives the same bytes.
type screen struct {
	out    io.Writer
	width  int // of the terminal; 0: it is none
	colour bool
	now    func() time.Time
}

// newScreen finds out what out is.
func newScreen(out io.Writer, env func(string) (string, bool)) screen {
	s := screen{out: out, now: time.Now}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		s.width = w
	} else {
		s.width = 80
	}
	plain, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	s.colour = plain == "" && kind != "dumb"
	return s
}

// terminal reports whether a person looks at it.
func (s *screen) terminal() bool { return s.width > 0 }

// json prints v, indented.
func (s *screen) json(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(s.out, escapeJSON(b.String()))
	return err
}

// when returns a time for a table.
func (s *screen) when(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case !s.terminal():
		return t.UTC().Format(time.RFC3339Nano)
	}
	d := s.now().Sub(t)
	if d < 0 {
		return "in " + roughly(-d)
	}
	return roughly(d) + " ago"
}

// ifSet is when for a time that may be missing.
func (s *screen) ifSet(t *time.Time) string {
	if t == nil {
		return ""
	}
	return s.when(*t)
}

// roughly returns a duration in its largest unit.
func roughly(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Styles, as the parameters of the escape sequence.
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (s *screen) styled(text, style string) string {
	if !s.colour || style == plain || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// escape makes text harmless on a terminal: what is not printable, among it
// everything that moves the cursor, hides text or turns its direction, is shown
// as Go writes it in a string.
func escape(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case hidden(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r) && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden reports whether a rune is not one that is seen. A broken sequence is
// U+FFFD here, and counts.
func hidden(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// escapeJSON does the same to a JSON text, by the escapes of JSON, so that it
// stays the same value. Its line ends are between the values.
func escapeJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r == utf8.RuneError || !hidden(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		}
	}
	return b.String()
}
