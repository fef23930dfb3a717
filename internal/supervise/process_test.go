//go:build unix

package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProcess makes the test binary a process of a test: it prints its pid, waits
// for SIGTERM, and does what the variable says.
const asProcess = "ARGOSY_SUPERVISED"

func TestMain(m *testing.M) {
	how := os.Getenv(asProcess)
	if how == "" {
		os.Exit(m.Run())
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("pid", os.Getpid())
	switch how {
	case "dies":
		os.Exit(3)
	case "deaf":
		for {
			<-signals
			fmt.Println("heard")
		}
	case "parent": // of a child that outlives it and holds its output open
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), asProcess+"=deaf")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			os.Exit(4)
		}
		fmt.Println("child", child.Process.Pid)
	case "supervisor":
		Start(spec("ends", os.Stdout), Config{}) // its output is not through this process
	}
	<-signals
	fmt.Println("ends")
	if how == "fails" {
		os.Exit(5)
	}
}

// quick is for tests: nothing is waited for.
func quick() Pace {
	return Pace{First: time.Millisecond, Longest: 4 * time.Millisecond, Settled: time.Hour, Poll: time.Millisecond, Watch: time.Millisecond}
}

func spec(how string, out io.Writer) Spec {
	return Spec{Name: "p", Command: []string{os.Args[0]}, Env: append(os.Environ(), asProcess+"="+how), Output: out}
}

// heard collects lines, and lets a test wait for one.
type heard struct {
	*io.PipeWriter
	lines chan string
}

func listen(t *testing.T) heard {
	r, w := io.Pipe()
	h := heard{w, make(chan string, 1000)}
	go func() { // ends with the pipe
		for s := bufio.NewScanner(r); s.Scan(); {
			h.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = w.Close() })
	return h
}

func (h heard) await(t *testing.T, prefix string) string {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		select {
		case line := <-h.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-limit:
			t.Fatalf("no line %q came", prefix)
		}
	}
}

// changes records states, and lets a test wait for one.
func changes() (Config, chan Status) {
	seen := make(chan Status, 1000)
	return Config{Pace: quick(), Changed: func(s Status) { seen <- s }}, seen
}

func awaitState(t *testing.T, seen chan Status, want State) Status {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		select {
		case s := <-seen:
			if s.State == want {
				return s
			}
		case <-limit:
			t.Fatalf("it was never %s", want)
		}
	}
}

func stop(t *testing.T, p *Process) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return p.Stop(ctx)
}

func TestAProcessThatIsKilledIsStartedAgain(t *testing.T) {
	c, seen := changes()
	out := listen(t)
	p := Start(spec("ends", out), c)
	for restarts := range 3 {
		s := awaitState(t, seen, Ready)
		if s.Restarts != restarts || s.PID == 0 {
			t.Fatalf("%+v, want %d restarts", s, restarts)
		}
		out.await(t, "pid ")
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if s := awaitState(t, seen, Waiting); s.Deaths != restarts+1 || s.PID != 0 || s.ExitCode != -1 || s.Why != "signal: killed" {
			t.Errorf("%+v", s)
		}
	}
	awaitState(t, seen, Ready)
	out.await(t, "pid ")
	if err := stop(t, p); err != nil {
		t.Error(err)
	}
	out.await(t, "ends")
	if s := p.Status(); s.State != Stopped || s.PID != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDeathsInARowCountUntilOneWasReadyForAWhile(t *testing.T) {
	c, seen := changes()
	c.Pace.Settled = time.Nanosecond
	p := Start(spec("ends", nil), c)
	for range 3 {
		if err := syscall.Kill(awaitState(t, seen, Ready).PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if s := awaitState(t, seen, Waiting); s.Deaths != 1 {
			t.Errorf("%+v", s)
		}
	}
	_ = stop(t, p) // it may be stopped before it listens to signals

	c, seen = changes()
	c.Pace.Settled = time.Nanosecond
	never := spec("dies", nil)
	never.Ready = func(context.Context) error { return errors.New("not yet") }
	p = Start(never, c)
	for n := range 3 {
		if s := awaitState(t, seen, Waiting); s.Deaths != n+1 || s.ExitCode != 3 {
			t.Errorf("%+v", s)
		}
	}
	_ = stop(t, p) // it may be stopped before it ends itself
}

func TestOneThatEndsWellDoesNotDieInARow(t *testing.T) {
	c, seen := changes()
	out := listen(t)
	p := Start(spec("ends", out), c)
	for range 3 {
		s := awaitState(t, seen, Ready)
		out.await(t, "pid ") // it listens to signals
		if err := syscall.Kill(s.PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if s := awaitState(t, seen, Waiting); s.Deaths != 1 || s.ExitCode != 0 {
			t.Errorf("%+v", s)
		}
	}
	_ = stop(t, p) // it may be stopped before it listens to signals
}

func TestAProgramThatCannotBeStartedIsTriedAgain(t *testing.T) {
	c, seen := changes()
	p := Start(Spec{Name: "p", Command: []string{t.TempDir() + "/none"}}, c)
	awaitState(t, seen, Waiting)
	if s := awaitState(t, seen, Waiting); s.Deaths < 2 || s.ExitCode != -1 || !strings.Contains(s.Why, "no such file") {
		t.Errorf("%+v", s)
	}
	if err := stop(t, p); err != nil {
		t.Error(err)
	}
}

func TestReadinessIsAskedForAllTheTime(t *testing.T) {
	c, seen := changes()
	var mu sync.Mutex
	var answer error = errors.New("not yet")
	set := func(err error) { mu.Lock(); defer mu.Unlock(); answer = err }
	out := listen(t)
	s := spec("ends", out)
	s.Ready = func(context.Context) error { mu.Lock(); defer mu.Unlock(); return answer }
	p := Start(s, c)
	out.await(t, "pid ")
	select {
	case <-p.Ready():
		t.Error("it is ready, and said that it was not")
	default:
	}
	set(nil)
	awaitState(t, seen, Ready)
	<-p.Ready()
	set(errors.New("not now"))
	awaitState(t, seen, Unready)
	set(nil)
	awaitState(t, seen, Ready)
	if err := stop(t, p); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatDoesNotEndIsKilled(t *testing.T) {
	for _, c := range []struct {
		name  string
		grace time.Duration
		stop  func(p *Process, heard func()) error
	}{
		{"after the grace", time.Millisecond, func(p *Process, _ func()) error { return p.Stop(context.Background()) }},
		{"when the stop is given up", time.Hour, func(p *Process, heard func()) error {
			ctx, cancel := context.WithCancel(context.Background())
			go func() { heard(); cancel() }()
			return p.Stop(ctx)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := listen(t)
			s := spec("deaf", out)
			s.Grace = c.grace
			p := Start(s, Config{Pace: quick()})
			out.await(t, "pid ")
			if err := c.stop(p, func() { out.await(t, "heard") }); err == nil {
				t.Error("it ended by itself")
			}
		})
	}
}

func TestAStopTellsHowTheProcessEnded(t *testing.T) {
	out := listen(t)
	p := Start(spec("fails", out), Config{Pace: quick()})
	out.await(t, "pid ")
	if err := stop(t, p); err == nil || !strings.Contains(err.Error(), "p: exit status 5") {
		t.Errorf("%v", err)
	}
	if err := stop(t, p); err == nil {
		t.Error("a second stop says nothing")
	}
}

func TestAChildThatHoldsTheOutputDoesNotKeepTheDeathSecret(t *testing.T) {
	c, seen := changes()
	out := listen(t)
	p := Start(spec("parent", out), c)
	var child int
	if _, err := fmt.Sscan(out.await(t, "child "), &child); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(child, syscall.SIGKILL) }) // it may have gone with its group
	if err := syscall.Kill(p.Status().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitState(t, seen, Waiting)
	p.Kill()
}

func TestAProcessEndsWithItsSupervisor(t *testing.T) {
	if _, err := UsageOf(os.Getpid()); errors.Is(err, errors.ErrUnsupported) {
		t.Log("NOT TESTED: only Linux ends them")
		return
	}
	out := listen(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProcess+"=supervisor")
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.await(t, "pid ")
	var child int
	if _, err := fmt.Sscan(out.await(t, "pid "), &child); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(child, syscall.SIGKILL) // it has ended, unless the test failed
		_ = cmd.Wait()                           // it was killed
	})
	limit := time.After(20 * time.Second)
	for tick := time.Tick(time.Millisecond); ; {
		if gone(child) {
			return
		}
		select {
		case <-tick:
		case <-limit:
			t.Fatal("the process outlives its supervisor")
		}
	}
}

// gone reports whether a process has ended, reaped by its new parent or not.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestUsageGrowsWithWork(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if errors.Is(err, errors.ErrUnsupported) {
		t.Log("NOT TESTED: it is not known on this system")
		return
	}
	if err != nil || before.Memory < 1<<20 {
		t.Fatalf("%+v, %v", before, err)
	}
	for n := 0; ; n++ {
		now, err := UsageOf(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.CPU > before.CPU {
			return
		}
	}
}

func TestPausesGrowToALimitAndAreScattered(t *testing.T) {
	p := Pace{First: 100 * time.Millisecond, Longest: time.Second}.orDefaults()
	for _, c := range []struct {
		deaths int
		most   time.Duration
	}{{1, 100 * time.Millisecond}, {2, 200 * time.Millisecond}, {4, 800 * time.Millisecond}, {5, time.Second}, {1000000, time.Second}} {
		seen := map[time.Duration]bool{}
		for range 50 {
			d := p.pause(c.deaths)
			if d < c.most/2 || d > c.most {
				t.Fatalf("after %d deaths: %s", c.deaths, d)
			}
			seen[d] = true
		}
		if len(seen) < 10 {
			t.Errorf("after %d deaths: %d different pauses of 50", c.deaths, len(seen))
		}
	}
}
