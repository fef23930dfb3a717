//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// buildArgosy builds the CLI once for all tests.
var buildArgosy = func() func(t testing.TB) string {
	var mu sync.Mutex
	path := ""
	return func(t testing.TB) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if path != "" {
			return path
		}
		to := filepath.Join(binaries, "argosy")
		if out, err := exec.Command("go", "build", "-o", to, "../cmd/argosy").CombinedOutput(); err != nil {
			t.Fatalf("build argosy: %v\n%s", err, out)
		}
		path = to
		return path
	}
}()

// member is a process of a fleet that argosy up runs.
type member struct {
	Name, Service, State, Admin, HTTP string
	PID, Restarts                     int
	Edge                              bool
}

// up makes the command argosy up of a program, with its data in dir.
func up(t testing.TB, program, dir string, args ...string) *exec.Cmd {
	t.Helper()
	args = append([]string{"up", program, "--data", dir, "--http", "127.0.0.1:0", "--output", "json"}, args...)
	cmd := exec.Command(buildArgosy(t), args...)
	cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password)
	return cmd
}

// startUp starts a program as one process a service, and waits until all are ready.
func startUp(t testing.TB, program, dir string, env []string, args ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, bin: program, dir: dir, env: env, out: &output{}, exited: make(chan struct{})}
	f.cmd = up(t, program, dir, args...)
	f.cmd.Env = append(f.cmd.Env, env...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.exited)
		f.exitErr = f.cmd.Wait()
	}()
	t.Cleanup(func() { f.endUp(2) })
	ready := f.awaitEvent(func(e event) bool { return e.Event == "ready" })
	f.addrs.HTTP = strings.TrimPrefix(ready.Line, "http://")
	f.took = time.Duration(ready.Seconds * float64(time.Second))
	return f
}

// endUp sends argosy up so many signals, and waits until it has gone.
func (f *fleet) endUp(signals int) {
	for range signals {
		if f.cmd.Process.Signal(syscall.SIGTERM) != nil {
			break // it has gone
		}
	}
	select {
	case <-f.exited:
	case <-time.After(30 * time.Second):
		_ = f.cmd.Process.Kill() // the kernel then asks the others to end
		<-f.exited
		f.t.Errorf("argosy up did not end\n%s", f.out)
	}
}

// event is a line of argosy up --output json.
type event struct {
	Event, Name, Line, State string
	Seconds                  float64
}

// events returns what argosy up has told.
func (f *fleet) events() []event {
	var all []event
	for s := bufio.NewScanner(strings.NewReader(f.out.String())); s.Scan(); {
		var e event
		if json.Unmarshal(s.Bytes(), &e) == nil && e.Event != "" {
			all = append(all, e)
		}
	}
	return all
}

func (f *fleet) awaitEvent(is func(event) bool) event {
	f.t.Helper()
	deadline := time.After(40 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); ; {
		if all := f.events(); slices.ContainsFunc(all, is) {
			return all[slices.IndexFunc(all, is)]
		}
		select {
		case <-f.exited:
			f.t.Fatalf("argosy up ended: %v\n%s", f.exitErr, f.out)
		case <-deadline:
			f.t.Fatalf("it did not happen\n%s", f.out)
		case <-tick:
		}
	}
}

// members returns the processes that run, as argosy up --status tells them.
func (f *fleet) members() []member {
	f.t.Helper()
	out, err := exec.Command(buildArgosy(f.t), "up", "--status", "--data", f.dir, "--output", "json").Output()
	if err != nil {
		f.t.Fatalf("argosy up --status: %v\n%s", err, f.out)
	}
	var s struct{ Processes []member }
	if err := json.Unmarshal(out, &s); err != nil {
		f.t.Fatalf("argosy up --status: %v\n%s", err, out)
	}
	return s.Processes
}

// strike kills a process with SIGKILL and waits until it is ready again.
func (f *fleet) strike(name string) {
	f.t.Helper()
	f.restart(syscall.SIGKILL, name)
}

// restart sends processes a signal that ends them, all at once, and waits until
// each is ready again.
func (f *fleet) restart(signal syscall.Signal, names ...string) {
	f.t.Helper()
	before := map[string]member{}
	for _, m := range f.members() {
		before[m.Name] = m
	}
	for _, name := range names {
		if before[name].PID == 0 {
			f.t.Fatalf("%s does not run: %v", name, before)
		}
		if err := syscall.Kill(before[name].PID, signal); err != nil {
			f.t.Fatalf("%v to %s: %v", signal, name, err)
		}
	}
	again := func() bool {
		n := 0
		for _, now := range f.members() {
			was := before[now.Name]
			if slices.Contains(names, now.Name) && now.Restarts > was.Restarts && now.State == "ready" && now.PID != was.PID {
				n++
			}
		}
		return n == len(names)
	}
	deadline := time.After(60 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); !again(); {
		select {
		case <-deadline:
			f.t.Fatalf("%v are not ready again\n%s", names, f.out)
		case <-tick:
		}
	}
}

// journaled returns how many orders the load has been acknowledged.
func journaled(t testing.TB, dir string) int {
	t.Helper()
	n, err := acknowledged(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// acknowledged counts what the journals of the load hold.
func acknowledged(dir string) (int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "load", "*.jsonl"))
	n := 0
	for _, path := range files {
		b, unread := os.ReadFile(path)
		n, err = n+bytes.Count(b, []byte("\n")), errors.Join(err, unread)
	}
	return n, err
}

// loaded is what shop load --output json tells.
type loaded struct {
	Acknowledged, Failed int
	Errors               map[string]int
}

// underLoad runs shop load with so many customers a second, calls do once orders
// are acknowledged, and returns what the customers saw until it returned.
func (f *fleet) underLoad(rate int, do func()) loaded {
	f.t.Helper()
	cmd := exec.Command(f.bin, "load", "--url", f.edges(), "--data", f.dir, "--rate", strconv.Itoa(rate), "--duration", "1h", "--output", "json")
	cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password)
	out, errs := &output{}, &output{}
	cmd.Stdout, cmd.Stderr = out, errs
	before := journaled(f.t, f.dir)
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it has gone unless the test failed
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); journaled(f.t, f.dir) < before+10; {
		select {
		case <-deadline:
			f.t.Fatalf("the load acknowledges nothing\n%s\n%s", errs, f.out)
		case <-tick:
		}
	}
	do()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		f.t.Fatalf("shop load has ended: %v\n%s", err, errs)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) { // 1: some customers gave up
		f.t.Fatalf("shop load: %v\n%s", err, errs)
	}
	f.t.Logf("load: %s", strings.TrimSpace(out.String()))
	var r loaded
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		f.t.Fatalf("shop load: %v\n%s", err, out)
	}
	return r
}

// edges returns the URLs of the fleet's edges, separated by commas.
func (f *fleet) edges() string {
	f.t.Helper()
	var urls []string
	for _, m := range f.members() {
		if m.Edge {
			urls = append(urls, "http://"+m.HTTP)
		}
	}
	return strings.Join(urls, ",")
}

func TestOneProcessAServiceLosesNothingWhenProcessesAreKilled(t *testing.T) {
	f := startUp(t, build(t, ""), t.TempDir(), nil)
	all := f.members()
	t.Logf("%d processes ready after %s", len(all), f.took)
	if len(all) != 11 { // ten services and the broker
		t.Errorf("%d processes: %v", len(all), all)
	}
	f.signIn("customer@shop.test")
	id := f.must("POST", "/v1/orders", "k1", order("tok_ok", f.products()[0])).field("id")
	if s := f.awaitEnd(id); s != "CONFIRMED" {
		t.Errorf("the order ended %s", s)
	}
	awaitDelivery(t, f, id) // the carrier's webhook comes through the edge
	f.underLoad(20, func() {
		for _, name := range []string{"order-1", "payment-1", "broker", "web-1"} {
			f.strike(name)
		}
	})
	begun := time.Now()
	t.Logf("\n%s", f.green(40*time.Second))
	t.Logf("quiet after %s", time.Since(begun))
	all = f.members()
	if err := f.stop(); err != nil {
		t.Errorf("drain: %v\n%s", err, f.out)
	}
	for _, m := range all {
		if err := syscall.Kill(m.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s outlives the fleet: %v", m.Name, err)
		}
	}
	f.drainedInOrder("web-1", "order-1", "payment-1", "witness-1", "broker")
}

// drainedInOrder fails the test unless each of these had ended before the next
// was asked to.
func (f *fleet) drainedInOrder(names ...string) {
	f.t.Helper()
	all := f.events()
	at := func(name, state string) int {
		return slices.IndexFunc(all, func(e event) bool { return e.Event == "state" && e.Name == name && e.State == state })
	}
	for i, name := range names[1:] {
		if ended, asked := at(names[i], "stopped"), at(name, "stopping"); ended < 0 || asked < ended {
			f.t.Errorf("%s was asked to end (event %d) before %s had (event %d)", name, asked, names[i], ended)
		}
	}
}

func TestCtrlCOnATerminalDrainsBelowATable(t *testing.T) {
	cmd := exec.Command(buildArgosy(t), "up", build(t, ""), "--data", t.TempDir(), "--http", "127.0.0.1:0", "--only", "identity,web")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	out, ended := &output{}, make(chan error, 1)
	go func() {
		_, _ = io.Copy(out, terminal) // ends with an error once the other side has closed
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() { _ = terminal.Close() })
	typed := false
	for deadline, tick := time.After(40*time.Second), time.Tick(10*time.Millisecond); ; {
		select {
		case err := <-ended:
			shown := out.String()
			if err != nil || !typed || !strings.Contains(shown, "drained and stopped") || !strings.Contains(shown, "web-1") {
				t.Errorf("%v\n%q", err, shown)
			}
			return
		case <-deadline:
			_ = cmd.Process.Kill() // the kernel then asks the others to end
			t.Fatalf("it did not end\n%q", out)
		case <-tick:
			_, after, ready := strings.Cut(out.String(), "is ready after")
			if ready && !typed && strings.Contains(after, "RESTARTS") { // the table is below the line
				typed = true
				if _, err := terminal.WriteString("\x03"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestASecondSignalKillsEveryProcess(t *testing.T) {
	f := startUp(t, build(t, ""), t.TempDir(), []string{"ARGOSY_DRAIN_WAIT=25s"}, "--only", "identity,catalog,web")
	all := f.members()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	f.awaitEvent(func(e event) bool { return e.Name == "web-1" && e.State == "stopping" })
	f.endUp(1)
	if f.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(f.out.String(), "killed by a second signal") {
		t.Errorf("%v\n%s", f.exitErr, f.out)
	}
	for _, m := range all {
		if err := syscall.Kill(m.PID, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s outlives the fleet: %v", m.Name, err)
		}
	}
}

func TestWhatCannotBeRunIsRefusedBeforeAnythingIsStarted(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"replicas on SQLite":           {[]string{"--replicas", "order=2"}, 2, "2 replicas of order need a store that they share"},
		"replicas of nothing":          {[]string{"--replicas", "ordr=2"}, 2, "did you mean order?"},
		"a service that does not run":  {[]string{"--only", "order,catalog,inventory,shipping"}, 2, "order calls payment, which does not run"},
		"a service that is not there":  {[]string{"--only", "orders"}, 2, "did you mean order?"},
		"a setting of every process":   {[]string{"--", "--only", "order"}, 2, "give argosy up --only instead"},
		"a setting that is unknown":    {[]string{"--", "--order.max-line", "3"}, 2, "max-line"},
		"replicas in one process":      {[]string{"--one-process", "--replicas", "order=2"}, 2, "--one-process makes one of all"},
		"an address that is none":      {[]string{"--http", "nowhere"}, 2, "--http"},
		"a program that is not Argosy": {nil, 1, "--describe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, dir := build(t, ""), filepath.Join(t.TempDir(), "data")
			if c.args == nil {
				program = "/bin/false"
			}
			cmd := up(t, program, dir, c.args...)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, want exit code %d and %q:\n%s", err, c.code, c.says, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "order.db")); err == nil {
				t.Error("a store was opened")
			}
		})
	}
}

func TestAFleetThatCannotStartEnds(t *testing.T) {
	cmd := up(t, build(t, ""), t.TempDir(), "--broker", "kafka://127.0.0.1")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "no adapter for the scheme") || !strings.Contains(string(out), "does not start: exit status 2") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestASecondFleetInTheSameDirectoryIsRefused(t *testing.T) {
	f := startUp(t, build(t, ""), t.TempDir(), nil, "--only", "identity")
	out, err := up(t, f.bin, f.dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another argosy up runs in") {
		t.Errorf("%v\n%s", err, out)
	}
	if len(f.members()) != 1 {
		t.Errorf("%v", f.members())
	}
}

func TestAPackageIsBuiltAndRunsInOneProcessToo(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{nil, {"--one-process"}} { // on the same data, by turns
		f := startUp(t, "../docs/guide/greeter", dir, nil, args...)
		r := f.must("POST", "/v1/greetings", "the-same-key", map[string]string{"name": "Ada"})
		if r.field("text") != "Hello, Ada" {
			t.Errorf("%s", r.body)
		}
		if err := f.stop(); err != nil {
			t.Errorf("%v\n%s", err, f.out)
		}
	}
	if out, err := exec.Command(buildArgosy(t), "up", "--status", "--data", dir).CombinedOutput(); err == nil || !strings.Contains(string(out), "no fleet") {
		t.Errorf("%v: %s", err, out)
	}
}
