//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/powercut"
)

// powerCuts is how often the power goes off in an ordinary run, over SQLite,
// the broker and the shop. ARGOSY_POWER_CUTS=200 makes it 200, and 100,000
// acknowledged writes.
const powerCuts = 9

// The acknowledged writes that a cut waits for, on average.
const (
	sqliteWrites = 1400
	brokerWrites = 500
)

// cutsWanted returns the number of cuts; it ends the test where there is no rig.
func cutsWanted(t *testing.T) int {
	t.Helper()
	if err := powercut.Available(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("ARGOSY_TEST_REQUIRE"), ","), "powercut") {
			t.Fatalf("powercut is required (ARGOSY_TEST_REQUIRE), but %v", err)
		}
		t.Logf("LEFT OUT: nothing here pulls the plug: %v", err)
		return 0
	}
	text := os.Getenv("ARGOSY_POWER_CUTS")
	if text == "" {
		return powerCuts
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 3 {
		t.Fatalf("ARGOSY_POWER_CUTS=%s is not a number above two", text)
	}
	return n
}

// newRig mounts a disk that goes when the test ends.
func newRig(t *testing.T, c powercut.Config) *powercut.Rig {
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
	return rig
}

func TestPowerCutsLoseNothingThatWasAcknowledged(t *testing.T) {
	cuts := cutsWanted(t)
	if cuts == 0 {
		return
	}
	sum := new(tally)
	t.Run("SQLite", func(t *testing.T) {
		w := newWriter(t, "sqlite", "", powercut.Config{Seed: 1})
		w.cutAll(t, cuts*2/5, sqliteWrites, sum)
	})
	t.Run("the broker", func(t *testing.T) {
		// The server syncs a block of messages when it is made, but not its name:
		// that is safe where an fsync of a new file keeps its name, as ext4, XFS
		// and Btrfs do.
		w := newWriter(t, "broker", "", powercut.Config{Seed: 2, Names: powercut.Ordered})
		w.cutAll(t, cuts*2/5, brokerWrites, sum)
	})
	t.Run("the shop", func(t *testing.T) {
		s := newDarkShop(t, build(t, ""), powercut.Config{Seed: 3, Names: powercut.Ordered})
		s.cutAll(cuts-2*(cuts*2/5), sum)
	})
	if t.Failed() {
		return
	}
	t.Logf("%d power cuts, %d acknowledged writes, 0 lost: of what nobody had synced the cuts took %d pages and left %d, %d of them torn",
		sum.cuts, sum.acknowledged, sum.Lost, sum.Kept, sum.Torn)
}

// maxRounds bounds how often the power is cut until an engine that does not
// wait for the disk has lost something.
const maxRounds = 10

func TestPowerCutsFindAnEngineThatDoesNotSync(t *testing.T) {
	if cutsWanted(t) == 0 {
		return
	}
	for engine, names := range map[string]powercut.Names{"sqlite": powercut.Strict, "broker": powercut.Ordered} {
		t.Run(engine, func(t *testing.T) {
			w := newWriter(t, engine, "no-fsync", powercut.Config{Seed: 1, Names: names})
			for round := range maxRounds {
				w.cut(t, 500)
				if err := w.check(t); err != nil {
					t.Logf("found after %d cuts: %v", round+1, err)
					return
				}
			}
			t.Errorf("%d power cuts, and nothing that was acknowledged is lost", maxRounds)
		})
	}
	t.Run("the shop", func(t *testing.T) {
		s := newDarkShop(t, build(t, "mutant"), powercut.Config{Seed: 1, Names: powercut.Ordered}, "ARGOSY_MUTANT=no-fsync")
		for round := range maxRounds {
			s.cut()
			if err := s.check(); err != nil {
				t.Logf("found after %d cuts: %v", round+1, err)
				return
			}
		}
		t.Errorf("%d power cuts, and nothing that was acknowledged is lost", maxRounds)
	})
}

// tally is what a test of power cuts has come to.
type tally struct {
	cuts, acknowledged int
	powercut.Loss
}

func (s *tally) add(l powercut.Loss) {
	s.cuts++
	s.Lost, s.Kept, s.Torn = s.Lost+l.Lost, s.Kept+l.Kept, s.Torn+l.Torn
}

// writer is the program of that name on a rig, and what it has said so far.
type writer struct {
	rig          *powercut.Rig
	bin, engine  string
	env          []string
	round        int
	dice         *rand.Rand
	acknowledged map[string]bool
	tried        map[string]bool // and not acknowledged
}

func newWriter(t *testing.T, engine, mutant string, c powercut.Config) *writer {
	t.Helper()
	tags := ""
	if mutant != "" {
		tags = "mutant"
	}
	return &writer{
		rig: newRig(t, c), bin: buildWriter(t, tags), engine: engine, env: append(os.Environ(), "ARGOSY_MUTANT="+mutant),
		dice: rand.New(rand.NewPCG(c.Seed, 1)), acknowledged: map[string]bool{}, tried: map[string]bool{},
	}
}

func buildWriter(t *testing.T, tags string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "writer")
	if out, err := exec.Command("go", "build", "-tags", tags, "-o", path, "./writer").CombinedOutput(); err != nil {
		t.Fatalf("build the writer: %v\n%s", err, out)
	}
	return path
}

// cutAll cuts the power n times and holds the engine to all that it ever said.
func (w *writer) cutAll(t *testing.T, n, writes int, sum *tally) {
	t.Helper()
	for range n {
		sum.add(w.cut(t, writes))
		if err := w.check(t); err != nil {
			t.Fatalf("cut %d: %v", w.round, err)
		}
	}
	sum.acknowledged += len(w.acknowledged)
}

// cut runs the writer and cuts the power: at about the writes-th acknowledgement,
// or now and then while it starts and recovers.
func (w *writer) cut(t *testing.T, writes int) powercut.Loss {
	t.Helper()
	w.round++
	cmd := exec.Command(w.bin, w.engine, w.rig.Dir(), strconv.Itoa(w.round))
	cmd.Env = w.env
	cmd.Stdin = strings.NewReader(strings.Join(slices.Sorted(maps.Keys(w.tried)), "\n"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var loss powercut.Loss
	var once sync.Once
	cut := func() {
		once.Do(func() { loss = w.rig.Cut(func() { _ = cmd.Process.Kill() }) })
	}
	stop := writes/2 + w.dice.IntN(writes)
	if w.round%8 == 0 {
		stop = -1
		defer time.AfterFunc(time.Duration(w.dice.IntN(60))*time.Millisecond, cut).Stop()
	}
	seen := w.listen(bufio.NewReader(out), stop, cut)
	waited := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(waited, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the writer ended by itself after %d writes: %v\n%s", seen, waited, &errs)
	}
	if err := w.rig.Restore(); err != nil {
		t.Fatal(err)
	}
	return loss
}

// listen keeps what the writer says to its end, and cuts at the stop-th acknowledgement.
func (w *writer) listen(out *bufio.Reader, stop int, cut func()) int {
	seen := 0
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return seen // half a line is nothing
		}
		what, id, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if what == "try" {
			w.tried[id] = true
			continue
		}
		delete(w.tried, id)
		w.acknowledged[id] = true
		if seen++; seen == stop {
			cut()
		}
	}
}

// check lists what is there and returns what is wrong with it.
func (w *writer) check(t *testing.T) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.bin, w.engine, w.rig.Dir())
	cmd.Env = w.env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("what is left cannot be read: %w: %s", err, &errs)
	}
	found := map[string]int{}
	for id := range strings.Lines(string(out)) {
		found[strings.TrimSuffix(id, "\n")]++
	}
	var lost, doubled []string
	for id := range w.acknowledged {
		if found[id] == 0 {
			lost = append(lost, id)
		}
	}
	for id, n := range found {
		if n > 1 || !w.acknowledged[id] && !w.tried[id] {
			doubled = append(doubled, id)
		}
	}
	if len(lost)+len(doubled) > 0 {
		slices.Sort(lost)
		return fmt.Errorf("of %d acknowledged writes %d are lost (%.100q…), and %d are there twice or were never made (%.100q)",
			len(w.acknowledged), len(lost), strings.Join(lost, " "), len(doubled), strings.Join(doubled, " "))
	}
	return nil
}
