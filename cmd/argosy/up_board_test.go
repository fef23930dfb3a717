package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/argosy-go/argosy/internal/supervise"
)

func noVariables(string) (string, bool) { return "", false }

// twoLines is the table of a board.
func twoLines(s *screen) error {
	return s.table([]column{{title: "NAME"}}, [][]cell{{text("order-1")}})
}

func TestLinesInAPipeArePlainAndNamed(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, noVariables)
	b := newBoard(&s, false, []string{"web-1", "inventory-1"}, twoLines)
	l := &lines{board: b, name: "web-1", style: red}
	for _, part := range []string{"first", " line\r\n\n\x1b[31mred\x1b[0m\x1b[2J\tend\nnot yet"} {
		if _, err := io.WriteString(l, part); err != nil {
			t.Fatal(err)
		}
	}
	b.event(entry{Event: "note"}, "two\nlines")
	b.close()
	want := "web-1 | first line\nweb-1 | red\\x1b[2J\tend\nargosy | two\nargosy | lines\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestALineWithoutAnEndIsShownInPieces(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, noVariables)
	b := newBoard(&s, false, nil, twoLines)
	l := &lines{board: b, name: "a"}
	if _, err := l.Write(bytes.Repeat([]byte("x"), 2*longestLine+1)); err != nil {
		t.Fatal(err)
	}
	b.close()
	if got := strings.Count(out.String(), "a | "); got != 2 || len(l.rest) != 1 {
		t.Errorf("%d lines, and %d bytes wait", got, len(l.rest))
	}
}

func TestJSONIsOneValueALine(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, noVariables)
	b := newBoard(&s, true, nil, twoLines)
	b.log("web-1", "a \"line\"", red)
	b.event(entry{Event: "state", Name: "web-1", member: &member{unit: unit{Service: "web"}, State: supervise.Ready, PID: 7}}, "web-1 is ready")
	b.close()
	var got []string
	for sc := bufio.NewScanner(&out); sc.Scan(); {
		var e struct {
			Event, Name, Line, Service, State string
			PID                               int
			Time                              time.Time
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil || e.Time.IsZero() {
			t.Fatalf("%v: %s", err, sc.Bytes())
		}
		got = append(got, fmt.Sprint(e.Event, " ", e.Name, " ", e.Line, e.Service, e.State, e.PID))
	}
	if strings.Join(got, ";") != `log web-1 a "line"0;state web-1 webready7` {
		t.Errorf("%q", got)
	}
}

// terminalOf returns what a board shows on a terminal of that height.
func terminalOf(t *testing.T, rows uint16, use func(b *board, tty *os.File)) string {
	t.Helper()
	screenSide, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: rows, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&shown, screenSide) }) // ends with an error once the other side has closed
	s := newScreen(tty, noVariables)
	b := newBoard(&s, false, []string{"web-1", "inventory-1"}, twoLines)
	use(b, tty)
	b.close()
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	reading.Wait()
	_ = screenSide.Close() // all is read
	return strings.ReplaceAll(shown.String(), "\r\n", "\n")
}

func TestOnATerminalTheTableStaysBelowTheLines(t *testing.T) {
	got := terminalOf(t, 24, func(b *board, _ *os.File) {
		b.log("web-1", "one", red)
		b.show(true)
		b.log("inventory-1", "\x1b[32mtwo\x1b[0m", green)
		b.show(true)
		b.show(true) // nothing has changed: nothing is drawn
	})
	table := "\n\x1b[1mNAME\x1b[0m\norder-1\n"
	want := "\x1b[31mweb-1       |\x1b[0m one\n" + table +
		"\x1b[3A\r\x1b[J\x1b[32minventory-1 |\x1b[0m \x1b[32mtwo\x1b[0m\n" + table +
		"\x1b[3A\r\x1b[J"
	if got != want {
		t.Errorf("\n%q, want\n%q", got, want)
	}
}

func TestATerminalWithoutRoomHasNoTable(t *testing.T) {
	got := terminalOf(t, 5, func(b *board, _ *os.File) {
		b.log("web-1", "one", red)
		b.show(true)
	})
	if strings.Contains(got, "order-1") || !strings.Contains(got, "one\n") {
		t.Errorf("%q", got)
	}
}

func TestTheMeterTellsTheUseOfAProcess(t *testing.T) {
	if _, err := supervise.UsageOf(os.Getpid()); errors.Is(err, errors.ErrUnsupported) {
		t.Log("NOT TESTED: it is not known on this system")
		return
	}
	var m meter
	cpu, memory := m.read(os.Getpid(), time.Now().Add(-time.Minute))
	if !strings.HasSuffix(cpu, "%") || !strings.HasSuffix(memory, " MB") || memory == "0 MB" {
		t.Errorf("%q %q", cpu, memory)
	}
	if cpu, memory := m.read(0, time.Now()); cpu != "" || memory != "" {
		t.Errorf("of no process: %q %q", cpu, memory)
	}
}
