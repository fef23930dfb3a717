//go:build linux

package powercut_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/argosy-go/argosy/argosytest/powercut"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, child(dir, os.Getenv(childDoes)))
		os.Exit(1)
	}
	if err := powercut.Available(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("ARGOSY_TEST_REQUIRE"), ","), "powercut") {
			fmt.Println("powercut is required (ARGOSY_TEST_REQUIRE), but", err)
			os.Exit(1)
		}
		fmt.Println("*** LEFT OUT: every test of this package:", err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// disk is a rig with the file operations of a test, which fail the test.
type disk struct {
	*powercut.Rig
	t *testing.T
}

func open(t *testing.T, c powercut.Config) disk {
	t.Helper()
	rig, err := powercut.New(filepath.Join(t.TempDir(), "disk"), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	return disk{rig, t}
}

func (d disk) path(name string) string { return filepath.Join(d.Dir(), name) }

func (d disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// write writes text at off, and syncs the file or not.
func (d disk) write(name, text string, off int64, sync bool) {
	d.t.Helper()
	f, err := os.OpenFile(d.path(name), os.O_CREATE|os.O_RDWR, 0o600)
	d.must(err)
	_, err = f.WriteAt([]byte(text), off)
	d.must(err)
	if sync {
		d.must(f.Sync())
	}
	d.must(f.Close())
}

// sync syncs a directory or a file.
func (d disk) sync(name string) {
	d.t.Helper()
	f, err := os.Open(d.path(name))
	d.must(err)
	d.must(f.Sync())
	d.must(f.Close())
}

func (d disk) cut() powercut.Loss {
	d.t.Helper()
	loss := d.Cut(nil)
	d.must(d.Restore())
	return loss
}

// read returns what a file holds, or "none".
func (d disk) read(name string) string {
	d.t.Helper()
	b, err := os.ReadFile(d.path(name))
	if os.IsNotExist(err) {
		return "none"
	}
	d.must(err)
	return string(b)
}

func TestWhatWasSyncedIsThereAndNothingElse(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	for name, c := range map[string]struct {
		names powercut.Names
		do    func(d disk)
		want  map[string]string
	}{
		"a file that was not synced is empty": {
			do:   func(d disk) { d.write("a", "text", 0, false); d.sync(".") },
			want: map[string]string{"a": ""},
		},
		"a file that was synced keeps what it had then": {
			do:   func(d disk) { d.write("a", "first", 0, true); d.sync("."); d.write("a", "later", 0, false) },
			want: map[string]string{"a": "first"},
		},
		"a close is no sync": {
			do:   func(d disk) { d.write("a", long, 0, true); d.sync("."); d.write("a", "x", 9000, false) },
			want: map[string]string{"a": long},
		},
		"a file whose directory was not synced has no name": {
			do:   func(d disk) { d.write("a", "text", 0, true) },
			want: map[string]string{"a": "none"},
		},
		"where names are ordered, the sync of a file keeps its name": {
			names: powercut.Ordered,
			do: func(d disk) {
				d.must(os.Mkdir(d.path("d"), 0o700))
				d.write("d/a", "text", 0, true)
				d.write("b", "text", 0, false)
			},
			want: map[string]string{"d/a": "text", "b": "none"},
		},
		"where names are ordered, what was changed before is kept too": {
			names: powercut.Ordered,
			do: func(d disk) {
				d.write("a", "a", 0, true)
				d.must(os.Rename(d.path("a"), d.path("b")))
				d.write("c", "c", 0, true)
			},
			want: map[string]string{"a": "none", "b": "a", "c": "c"},
		},
		"a rename whose directory was not synced has not happened": {
			do: func(d disk) {
				d.write("a", "new", 0, true)
				d.write("b", "old", 0, true)
				d.sync(".")
				d.must(os.Rename(d.path("a"), d.path("b")))
			},
			want: map[string]string{"a": "new", "b": "old"},
		},
		"a rename is kept by the sync of its directory": {
			do: func(d disk) {
				d.write("a", "new", 0, true)
				d.write("b", "old", 0, true)
				d.must(os.Rename(d.path("a"), d.path("b")))
				d.sync(".")
			},
			want: map[string]string{"a": "none", "b": "new"},
		},
		"a rename between directories is kept by the sync of either": {
			do: func(d disk) {
				d.must(os.Mkdir(d.path("d"), 0o700))
				d.must(os.Mkdir(d.path("e"), 0o700))
				d.write("d/a", "text", 0, true)
				d.sync(".")
				d.must(os.Rename(d.path("d/a"), d.path("e/a")))
				d.sync("d")
			},
			want: map[string]string{"d/a": "none", "e/a": "text"},
		},
		"a file that was renamed before it was synced is empty": {
			do: func(d disk) {
				d.write("b", "old", 0, true)
				d.write("a", "new", 0, false)
				d.must(os.Rename(d.path("a"), d.path("b")))
				d.sync(".")
			},
			want: map[string]string{"b": ""},
		},
		"a truncation that was not synced has not happened": {
			do:   func(d disk) { d.write("a", long, 0, true); d.sync("."); d.must(os.Truncate(d.path("a"), 5)) },
			want: map[string]string{"a": long},
		},
		"a truncation that was synced has, and what grew again is zeros": {
			do: func(d disk) {
				d.write("a", long, 0, true)
				d.sync(".")
				d.must(os.Truncate(d.path("a"), 5))
				d.must(os.Truncate(d.path("a"), 7))
				d.sync("a")
			},
			want: map[string]string{"a": "01234\x00\x00"},
		},
		"a truncation that was followed by writes and a sync keeps the writes": {
			do: func(d disk) {
				d.write("a", long, 0, true)
				d.sync(".")
				d.must(os.Truncate(d.path("a"), 0))
				d.write("a", "short", 0, true)
				d.write("a", "!", 5000, true)
			},
			want: map[string]string{"a": "short" + strings.Repeat("\x00", 4995) + "!"},
		},
		"an unlink whose directory was not synced has not happened": {
			do:   func(d disk) { d.write("a", "text", 0, true); d.sync("."); d.must(os.Remove(d.path("a"))) },
			want: map[string]string{"a": "text"},
		},
		"an unlink is kept by the sync of its directory": {
			do:   func(d disk) { d.write("a", "text", 0, true); d.sync("."); d.must(os.Remove(d.path("a"))); d.sync(".") },
			want: map[string]string{"a": "none"},
		},
		"a second name keeps the file": {
			do: func(d disk) {
				d.write("a", "text", 0, true)
				d.must(os.Link(d.path("a"), d.path("b")))
				d.must(os.Remove(d.path("a")))
				d.sync(".")
			},
			want: map[string]string{"a": "none", "b": "text"},
		},
		"a write through a descriptor that syncs is synced": {
			do: func(d disk) {
				f, err := os.OpenFile(d.path("a"), os.O_CREATE|os.O_WRONLY|os.O_SYNC, 0o600)
				d.must(err)
				_, err = f.WriteString("sync")
				d.must(err)
				g, err := os.OpenFile(d.path("b"), os.O_CREATE|os.O_WRONLY|syscall.O_DSYNC, 0o600)
				d.must(err)
				_, err = g.WriteString("dsync")
				d.must(err)
				d.sync(".")
				d.must(f.Close())
				d.must(g.Close())
			},
			want: map[string]string{"a": "sync", "b": "dsync"},
		},
		"fdatasync keeps a new size": {
			do: func(d disk) {
				f, err := os.Create(d.path("a"))
				d.must(err)
				_, err = f.WriteString("text")
				d.must(err)
				d.must(syscall.Fdatasync(int(f.Fd())))
				d.must(f.Close())
				d.sync(".")
			},
			want: map[string]string{"a": "text"},
		},
		"a symbolic link is a name": {
			do:   func(d disk) { d.write("a", "text", 0, true); d.must(os.Symlink("a", d.path("b"))); d.sync(".") },
			want: map[string]string{"b": "text"},
		},
		"a directory goes with its name": {
			do: func(d disk) {
				d.must(os.MkdirAll(d.path("d/e"), 0o700))
				d.write("d/e/a", "text", 0, true)
				d.sync("d/e")
				d.sync("d")
			},
			want: map[string]string{"d/e/a": "none"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, powercut.Config{Clean: true, Names: c.names})
			c.do(d)
			d.cut()
			for range 2 { // what survived one cut survives the next
				for name, want := range c.want {
					if got := d.read(name); got != want {
						t.Errorf("%s holds %q, want %q", name, short(got), short(want))
					}
				}
				d.cut()
			}
		})
	}
}

func short(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%s… (%d bytes)", s[:40], len(s))
	}
	return s
}

func TestWhatWasNotSyncedSurvivesInPartsTornAndOutOfOrder(t *testing.T) {
	const pages = 64
	old, fresh := bytes.Repeat([]byte("o"), pages*4096), bytes.Repeat([]byte("n"), pages*4096)
	var all powercut.Loss
	var kept, lost, torn, disordered int
	for seed := range uint64(20) {
		d := open(t, powercut.Config{Seed: seed})
		d.write("a", string(old), 0, true)
		d.sync(".")
		d.write("a", string(fresh), 0, false)
		loss := d.cut()
		all.Lost, all.Kept, all.Torn = all.Lost+loss.Lost, all.Kept+loss.Kept, all.Torn+loss.Torn
		got := d.read("a")
		lostBefore := false
		for i := range pages {
			switch page := got[i*4096 : (i+1)*4096]; strings.Count(page, "n") {
			case 0:
				lost++
				lostBefore = true
			case 4096:
				kept++
				if lostBefore {
					disordered++
				}
			default:
				torn++
			}
		}
	}
	if kept == 0 || lost == 0 || torn == 0 || disordered == 0 {
		t.Errorf("of %d pages %d survived, %d were torn, %d lost, %d survived though an earlier one did not", 20*pages, kept, torn, lost, disordered)
	}
	if all.Lost == 0 || all.Kept == 0 || all.Torn == 0 {
		t.Errorf("the cuts say that they did this: %+v", all)
	}
}

func TestNamesThatWereNotSyncedSurviveInTheirOrder(t *testing.T) {
	lengths := map[int]bool{}
	for seed := range uint64(20) {
		d := open(t, powercut.Config{Seed: seed})
		for i := range 5 {
			d.write(fmt.Sprint(i), "", 0, false)
		}
		d.cut()
		list, err := os.ReadDir(d.Dir())
		d.must(err)
		for i, e := range list {
			if e.Name() != fmt.Sprint(i) {
				t.Fatalf("of 0 to 4 there are %v", list)
			}
		}
		lengths[len(list)] = true
	}
	if len(lengths) < 3 {
		t.Errorf("20 cuts had only these outcomes: %v", lengths)
	}
}

func TestASyncIsKeptWhateverTheSeed(t *testing.T) {
	for seed := range uint64(50) {
		d := open(t, powercut.Config{Seed: seed})
		want := strings.Repeat(fmt.Sprint(seed%10), 10000)
		d.write("a", strings.Repeat("x", 30000), 0, true)
		d.must(os.Truncate(d.path("a"), 100))
		d.write("a", want, 0, false)
		d.sync("a")
		d.sync(".")
		d.write("a", "tail", int64(len(want)), false)
		d.must(os.Truncate(d.path("a"), int64(len(want))))
		d.cut()
		if got := d.read("a"); !strings.HasPrefix(got, want) {
			t.Fatalf("seed %d: %q", seed, short(got))
		}
	}
}

func TestTheSameSeedChoosesTheSame(t *testing.T) {
	run := func() (string, powercut.Loss) {
		d := open(t, powercut.Config{Seed: 7})
		d.write("a", strings.Repeat("o", 100000), 0, true)
		d.sync(".")
		d.write("a", strings.Repeat("n", 150000), 0, false)
		d.write("b", "text", 0, false)
		loss := d.cut()
		return d.read("a") + d.read("b"), loss
	}
	one, lossOne := run()
	two, lossTwo := run()
	if one != two || lossOne != lossTwo {
		t.Errorf("%+v and %+v", lossOne, lossTwo)
	}
}
