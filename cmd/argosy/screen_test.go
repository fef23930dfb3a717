package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestWhatCannotBeSeenIsEscaped(t *testing.T) {
	for name, c := range map[string][2]string{
		"plain text":                     {"Zoë's 漢字 order, 10 %", "Zoë's 漢字 order, 10 %"},
		"a colour":                       {"\x1b[31mred", `\x1b[31mred`},
		"a title":                        {"\x1b]0;owned\a", `\x1b]0;owned\x07`},
		"a control of eight bits":        {"\u009b31m", `\u009b31m`},
		"text that runs backwards":       {"\u202egnp.exe", `\u202egnp.exe`},
		"a character of no width":        {"pay\u200bment", `pay\u200bment`},
		"a line's end":                   {"a\r\nb\tc", `a\r\nb\tc`},
		"a space that is none":           {"a\u00a0b", `a\u00a0b`},
		"bytes that are no text":         {"a\xff\xfeb", `a\xff\xfeb`},
		"a tag that nobody sees":         {"\U000e0041", `\U000e0041`},
		"the deletion of what is before": {"a\x7f", `a\x7f`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := escape(c[0]); got != c[1] {
				t.Errorf("got %q, want %q", got, c[1])
			}
		})
	}
}

func FuzzNothingHiddenIsPrinted(f *testing.F) {
	for _, s := range []string{"a", "\x1b[2J", "\u202e", "\xff", "\U000e0041", "\ufffd", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range escape(s) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q is escaped as %q", s, escape(s))
			}
		}
		if s := escape(s); escape(s) != s {
			t.Fatalf("escaped twice, %q is %q", s, escape(s))
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		safe := escapeJSON(string(b))
		for _, r := range safe {
			if !unicode.IsPrint(r) && r != '\n' {
				t.Fatalf("%s is printed as %q", b, safe)
			}
		}
		var before, after string
		if json.Unmarshal(b, &before) != nil || json.Unmarshal([]byte(safe), &after) != nil || before != after {
			t.Fatalf("%s became %s", b, safe)
		}
	})
}

func TestATableFitsTheTerminalAndKeepsWhatIsCopied(t *testing.T) {
	columns := []column{{"ID", true}, {"NAME", false}, {"WHY", false}}
	rows := func() [][]cell {
		return [][]cell{{text("0198c0de-0000-7000-8000-000000000001"), text(strings.Repeat("n", 40)), text(strings.Repeat("w", 90))}}
	}
	for width, want := range map[int]string{
		0:   strings.Repeat("w", 90),
		500: strings.Repeat("w", 90),
		100: strings.Repeat("w", 28) + "…",
		10:  strings.Repeat("w", 7) + "…", // it cannot fit: nothing becomes useless
	} {
		var b strings.Builder
		s := screen{out: &b, width: width}
		if err := s.table(columns, rows()); err != nil {
			t.Fatal(err)
		}
		line := strings.Split(b.String(), "\n")[1]
		if !strings.HasPrefix(line, "0198c0de-0000-7000-8000-000000000001  n") || !strings.HasSuffix(line, "  "+want) && !strings.HasSuffix(line, want) {
			t.Errorf("width %d: %q", width, line)
		}
		if width >= 100 && seen(line) > width {
			t.Errorf("width %d: the line takes %d", width, seen(line))
		}
	}
}

func TestAMarkTakesNoCellAndStaysOnItsLetter(t *testing.T) {
	if seen("e\u0301a") != 2 {
		t.Errorf("it takes %d", seen("e\u0301a"))
	}
	if got := cut("e\u0301e\u0301e\u0301e\u0301", 3); got != "e\u0301e\u0301…" {
		t.Errorf("got %q", got)
	}
}

func TestTimesAreRoughForPeople(t *testing.T) {
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	s := screen{width: 80, now: func() time.Time { return now }}
	for d, want := range map[time.Duration]string{
		0: "0s ago", 90 * time.Second: "90s ago", 5 * time.Minute: "5m ago", 30 * time.Hour: "30h ago", 72 * time.Hour: "3d ago", -5 * time.Minute: "in 5m",
	} {
		if got := s.when(now.Add(-d)); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	if got := s.when(time.Time{}); got != "" {
		t.Errorf("no time is %q", got)
	}
}
