//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func nothing(context.Context, *Scene) (Heal, error) { return nil, nil }

func TestTheSameSeedMakesTheSameSchedule(t *testing.T) {
	plan := Plan{Seed: 7, Length: 10 * time.Minute, Faults: []Fault{
		{Name: "a", Targets: []string{"x"}, Max: 9 * time.Second, Inject: nothing},
		{Name: "b", Targets: []string{"x"}, Max: time.Second, Inject: nothing},
		{Name: "c", Targets: []string{"y"}, Min: 16 * time.Second, Max: 20 * time.Second, Inject: nothing},
		{Name: "d", Inject: nothing},
	}}
	once := plan.Schedule()
	if !slices.Equal(once, plan.Schedule()) {
		t.Error("twice the same plan, and two schedules")
	}
	plan.Seed = 8
	if slices.Equal(once, plan.Schedule()) {
		t.Error("another seed, and the same schedule")
	}
	if want := 299; len(once) != want {
		t.Errorf("%d strikes in ten minutes, not one each two seconds: %d", len(once), want)
	}
	plan.Faults[0].Name = "z"
	if slices.Equal(once, plan.Schedule()) {
		t.Error("other faults, and the same schedule")
	}
}

func TestATargetSuffersOneFaultAtATimeAndEachStrikes(t *testing.T) {
	faults := []Fault{
		{Name: "long", Targets: []string{"x", "y"}, Min: 20 * time.Second, Max: 40 * time.Second, Inject: nothing},
		{Name: "x", Targets: []string{"x"}, Max: 10 * time.Second, Inject: nothing},
		{Name: "y", Targets: []string{"y"}, Max: 10 * time.Second, Inject: nothing},
		{Name: "free", Targets: []string{"z"}, Inject: nothing},
	}
	of := map[string]Fault{}
	for _, f := range faults {
		of[f.Name] = f
	}
	for seed := range uint64(50) {
		until, seen := map[string]time.Duration{}, map[string]int{}
		for _, s := range (Plan{Seed: seed + 1, Length: 5 * time.Minute, Faults: faults}).Schedule() {
			f := of[s.Fault]
			seen[s.Fault]++
			if s.Lasts < f.Min || s.Lasts > f.Max {
				t.Errorf("seed %d: %s lasts %s", seed+1, s.Fault, s.Lasts)
			}
			for _, target := range f.Targets {
				if until[target] > s.At {
					t.Errorf("seed %d: %s strikes %s at %s, which suffers until %s", seed+1, s.Fault, target, s.At, until[target])
				}
				until[target] = s.At + s.Lasts
			}
		}
		if len(seen) != len(faults) {
			t.Errorf("seed %d: only %v struck", seed+1, seen)
		}
	}
}

// program is a shell script as a process; it is ready when it has written its
// pid to a file in the directory it is started in.
func program(t *testing.T, script string) *Process {
	t.Helper()
	dir := t.TempDir()
	p := &Process{Name: "program", Grace: 5 * time.Second}
	p.Command = func() *exec.Cmd {
		cmd := exec.Command("sh", "-c", "echo $$ > pid; "+script)
		cmd.Dir = dir
		return cmd
	}
	p.Ready = func(context.Context) error {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil && strings.TrimSpace(string(b)) != fmt.Sprint(p.Pid()) {
			err = fmt.Errorf("pid %s is not %d", b, p.Pid())
		}
		return err
	}
	return p
}

// obedient ends with 0 at SIGTERM.
const obedient = `trap 'exit 0' TERM; while :; do sleep 0.02; done`

// runs a plan that is quick, and returns its report.
func quick(t *testing.T, p Plan) Report {
	t.Helper()
	if p.Length == 0 {
		p.Length = time.Second
	}
	p.Every, p.Seed = 100*time.Millisecond, 3
	if p.Patience == 0 {
		p.Patience = 10 * time.Second
	}
	return execute(t.Context(), p.withDefaults())
}

func TestWhatIsKilledPausedAndRolledIsWholeAgain(t *testing.T) {
	p := program(t, obedient)
	kill := Kill(p)
	kill.Max = 10 * time.Millisecond
	r := quick(t, Plan{Length: 2 * time.Second, Processes: []*Process{p}, Faults: []Fault{kill, Pause(p, 0, 50*time.Millisecond), Restart(p)}})
	if len(r.Problems) > 0 {
		t.Error(r.Problems)
	}
	seen := map[string]int{}
	for _, e := range r.Events {
		if e.Recovered > 0 {
			seen[e.Fault]++
		}
	}
	for _, name := range []string{"kill program", "pause program", "roll program"} {
		if seen[name] == 0 {
			t.Errorf("%s did not strike: %v", name, seen)
		}
	}
	if want := fmt.Sprint(1 + seen["kill program"] + seen["roll program"]); !strings.HasPrefix(r.Starts[0].Value, want+", of which 0 ") {
		t.Errorf("%s starts, not %s", r.Starts[0].Value, want)
	}
	if p.Pid() != 0 {
		t.Error("it runs on")
	}
}

func TestNothingIsLeftOfAProcessAndItsChildren(t *testing.T) {
	p := program(t, `sleep 1000 & echo $! > child; `+obedient)
	var child int
	dir := p.Command().Dir
	quick(t, Plan{Length: 200 * time.Millisecond, Processes: []*Process{p}, Invariant: func(context.Context) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, "child"))
		if err == nil {
			_, err = fmt.Sscan(string(b), &child)
		}
		return "", err
	}})
	if child == 0 {
		t.Fatal("there was no child")
	}
	if err := until(t.Context(), func(context.Context) error {
		if syscall.Kill(child, 0) == nil && !zombie(child) {
			return errors.New("the child lives")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// zombie reports whether a process has ended and only waits to be buried.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(b), ") Z ")
}

func TestARunFails(t *testing.T) {
	fail := errors.New("it does not hold")
	for name, c := range map[string]struct {
		script string
		plan   Plan
		want   string
	}{
		"when a process ends by itself":       {"sleep 0.2; exit 3", Plan{}, "program ended by itself: exit status 3"},
		"when a process panics":               {"echo 'panic: oh no'; " + obedient, Plan{}, "program cried: panic: oh no"},
		"when a process does not drain":       {"trap '' TERM; while :; do sleep 0.02; done", Plan{}, "did not end within 5s of SIGTERM"},
		"when a drain is not clean":           {"trap 'exit 4' TERM; while :; do sleep 0.02; done", Plan{}, "ended after SIGTERM with exit status 4"},
		"when the invariant is broken":        {obedient, Plan{Invariant: func(context.Context) (string, error) { return "", fail }}, "the invariant: it does not hold"},
		"when the load fails":                 {obedient, Plan{Load: func(context.Context) ([]Figure, error) { return nil, fail }}, "the load: it does not hold"},
		"when work does not end":              {obedient, Plan{Patience: 300 * time.Millisecond, Quiet: func(ctx context.Context) error { <-ctx.Done(); return fail }}, "work did not end: it took longer than 300ms"},
		"when there is no recovery":           {obedient, Plan{Patience: 300 * time.Millisecond, Faults: []Fault{{Name: "f", Inject: nothing}}, Probe: func(context.Context) error { return fail }}, "no recovery from f at"},
		"when a fault cannot strike":          {obedient, Plan{Faults: []Fault{{Name: "f", Inject: func(context.Context, *Scene) (Heal, error) { return nil, fail }}}}, "f at "},
		"when a fault cannot be healed":       {obedient, Plan{Faults: []Fault{{Name: "f", Inject: func(context.Context, *Scene) (Heal, error) { return func(context.Context) error { return fail }, nil }}}}, "cannot be healed: it does not hold"},
		"when a name is given twice":          {obedient, Plan{Faults: []Fault{{Name: "f", Inject: nothing}, {Name: "f", Inject: nothing}}}, `two faults are called "f"`},
		"when a load stays after its welcome": {obedient, Plan{Patience: 100 * time.Millisecond, Load: stayUntilKilled()}, "the load did not end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := program(t, c.script)
			c.plan.Processes = []*Process{p}
			if c.plan.Load == nil {
				c.plan.Length = 300 * time.Millisecond
			}
			r := quick(t, c.plan)
			if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, c.want) }) {
				t.Errorf("%q is not in %q", c.want, r.Problems)
			}
			if text := r.Markdown(); !strings.Contains(text, "RED") || !strings.Contains(text, "Seed 3") {
				t.Errorf("the report does not say so:\n%s", text)
			}
		})
	}
}

// stayUntilKilled is a load that goes on for a while after its time.
func stayUntilKilled() func(context.Context) ([]Figure, error) {
	return func(ctx context.Context) ([]Figure, error) {
		<-ctx.Done()
		return nil, pause(context.WithoutCancel(ctx), 300*time.Millisecond)
	}
}

func TestTheEndOfARunHealsWhatLasts(t *testing.T) {
	var broken, healed atomic.Int32
	r := quick(t, Plan{Length: 300 * time.Millisecond, Faults: []Fault{{Name: "f", Min: time.Hour, Max: time.Hour,
		Inject: func(context.Context, *Scene) (Heal, error) {
			broken.Add(1)
			return func(context.Context) error { healed.Add(1); return nil }, nil
		}}}})
	if broken.Load() == 0 || healed.Load() != broken.Load() || len(r.Problems) > 0 {
		t.Errorf("%d broken, %d healed, %v", broken.Load(), healed.Load(), r.Problems)
	}
}

func TestADiskIsFullToTheLastByteAndThenFree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("NOT TESTED: a tmpfs needs root")
		return
	}
	d := NewDisk(t, 4<<20)
	write := func() error {
		f, err := os.Create(filepath.Join(d.Dir, "data"))
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, 4096))
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	heal, err := DiskFull(d).Inject(t.Context(), &Scene{})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("4 KiB were written to a full disk: %v", err)
	}
	if err := heal(t.Context()); err != nil {
		t.Error(err)
	}
	if err := write(); err != nil {
		t.Errorf("it is not free again: %v", err)
	}
}

func TestASecondHolderOfALockExcludesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	if err := os.WriteFile(path+"-shm", make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	heal, err := HoldSQLite(path).Inject(t.Context(), &Scene{})
	if err != nil {
		t.Fatal(err)
	}
	locked := func() bool { // as another process sees it
		return exec.Command("sh", "-c", `grep -q ":$(stat -c %i "$1") `+fmt.Sprint(walWriteLock)+` " /proc/locks`, "sh", path+"-shm").Run() == nil
	}
	if !locked() {
		t.Error("the write lock is not held")
	}
	if err := heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if locked() {
		t.Error("the write lock is held after the heal")
	}
}

// childOf is the variable that makes the test below be the test that is killed.
const childOf = "ARGOSY_TORTURE_TEST_CHILD"

func TestATestThatIsKilledLeavesNothingBehind(t *testing.T) {
	if file := os.Getenv(childOf); file != "" {
		quick(t, Plan{Length: time.Hour, Processes: []*Process{program(t, "echo $$ > "+file+"; "+obedient)}})
		return
	}
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childOf+"="+file, "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var pid int
	if err := until(t.Context(), func(context.Context) error {
		b, err := os.ReadFile(file)
		if err == nil {
			_, err = fmt.Sscan(string(b), &pid)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if err := until(t.Context(), func(context.Context) error {
		if syscall.Kill(pid, 0) == nil && !zombie(pid) {
			return errors.New("the process lives")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestAHostThatDoesNotAnswerIsNoHost(t *testing.T) {
	if _, err := NewLoopback("a").Hub.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
		t.Error("somebody listens on port 1")
	}
	defer func() {
		if recover() == nil {
			t.Error("a host that was never made was found")
		}
	}()
	NewLoopback("a").Host("b")
}
