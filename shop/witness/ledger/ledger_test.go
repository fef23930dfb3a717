package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, path string) (*Ledger, []Entry) {
	t.Helper()
	l, entries, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, entries
}

func TestConcurrentAppendsAreNumberedWithoutGapsAndReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	l, _ := open(t, path)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for j := range 20 {
				if err := l.Append(Entry{Kind: "capture", Key: fmt.Sprint(i, "/", j)}).Wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	entries, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 64*20 {
		t.Fatalf("%d entries acknowledged, %d read", 64*20, len(entries))
	}
	for i, e := range entries {
		if e.Seq != int64(i)+1 {
			t.Fatalf("entry %d has number %d", i, e.Seq)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != l.Size() {
		t.Fatalf("size on disk: %v, %v; the ledger says %d", info.Size(), err, l.Size())
	}
}

func TestATornTailIsSkippedByReadersAndCutByOpen(t *testing.T) {
	const whole = `{"seq":1,"time":"2026-01-01T00:00:00Z","kind":"book"}` + "\n"
	tails := map[string]string{
		"half a line":             `{"seq":2,"ti`,
		"a line without its end":  `{"seq":2,"time":"2026-01-01T00:00:00Z","kind":"book"}`,
		"zeros":                   "\x00\x00\x00\x00",
		"a broken line":           "{broken\n",
		"several broken lines":    "{broken\n\x00\x00\nmore",
		"a line longer than ever": strings.Repeat("x", maxLine+10),
	}
	for name, tail := range tails {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.jsonl")
			if err := os.WriteFile(path, []byte(whole+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			if entries, err := Read(path); err != nil || len(entries) != 1 {
				t.Fatalf("Read: %d entries, %v", len(entries), err)
			}
			l, entries := open(t, path)
			if len(entries) != 1 {
				t.Fatalf("Open: %d entries", len(entries))
			}
			if r := l.Append(Entry{Kind: "cancel"}); r.Wait() != nil || r.Seq != 2 {
				t.Fatalf("the next entry got number %d, %v", r.Seq, r.Wait())
			}
			if entries, err := Read(path); err != nil || len(entries) != 2 {
				t.Fatalf("Read after the cut: %d entries, %v", len(entries), err)
			}
		})
	}
}

func TestABrokenEntryInTheMiddleIsAnError(t *testing.T) {
	tests := map[string]string{
		"a broken line before a whole one":      "{broken\n" + `{"seq":1,"kind":"book"}` + "\n",
		"a broken line that was on disk before": `{"seq":1,"unsynced":1,"kind":"book"}` + "\n{broken\n" + `{"seq":3,"unsynced":3,"kind":"book"}` + "\n",
		"a missing number":                      `{"seq":1,"kind":"book"}` + "\n" + `{"seq":3,"kind":"book"}` + "\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.jsonl")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := Open(path); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("Open: %v", err)
			}
			if _, err := Read(path); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("Read: %v", err)
			}
		})
	}
}

func TestATailThatIsTornOutOfOrderIsCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.jsonl")
	whole := `{"seq":1,"unsynced":1,"kind":"book"}` + "\n"
	text := whole + strings.Repeat("\x00", 4096) + "\n" + `{"seq":4,"unsynced":2,"kind":"book"}` + "\n" + `{"seq":5,"unsy`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, entries := open(t, path)
	if len(entries) != 1 || entries[0].Seq != 1 {
		t.Fatalf("the ledger holds %v", entries)
	}
	if r := l.Append(Entry{Kind: "book"}); r.Seq != 2 || r.Wait() != nil {
		t.Errorf("the next entry is number %d: %v", r.Seq, r.Wait())
	}
	if err := l.Append(Entry{Kind: "book"}).Wait(); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil || len(again) != 3 || again[2].Unsynced != 3 {
		t.Errorf("the ledger holds %v: %v", again, err)
	}
}

func TestAFailedWriteFailsAllThatFollow(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "a.jsonl"))
	l.file.Close()
	if err := l.Append(Entry{Kind: "book"}).Wait(); err == nil {
		t.Fatal("an entry that could not be written was acknowledged")
	}
	if r := l.Append(Entry{Kind: "book"}); r.Wait() == nil || l.Err() == nil || l.Barrier().Wait() == nil {
		t.Fatal("the ledger went on after a failed write")
	}
}

func TestAClosedLedgerTakesNothing(t *testing.T) {
	l, _ := open(t, filepath.Join(t.TempDir(), "a.jsonl"))
	r := l.Note(Entry{Kind: Notified})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err != nil {
		t.Fatalf("a note appended before Close: %v", err)
	}
	if err := l.Append(Entry{Kind: "book"}).Wait(); !errors.Is(err, ErrClosed) {
		t.Fatalf("Append: %v", err)
	}
	if err := l.Barrier().Wait(); !errors.Is(err, ErrClosed) {
		t.Fatalf("Barrier: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"seq":1,"kind":"book"}` + "\n" + `{"seq":2,"kind":"book"}` + "\n"))
	f.Add([]byte(`{"seq":1,"kind":"book"}` + "\n" + `{"seq":2`))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, size, err := scan(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, size2, err := scan(bytes.NewReader(text[:size]))
		if err != nil || size2 != size || len(again) != len(entries) {
			t.Fatalf("cut at %d: %d entries; read again: %d at %d, %v", size, len(entries), len(again), size2, err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l, _, err := Open(filepath.Join(b.TempDir(), "a.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.SetParallelism(32) // 64 callers on two cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(Entry{Kind: "capture", Reference: "order-1", Amount: 129}).Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
