package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/store/sqlite"
)

// tool builds a program of this module once, and returns its path.
var tool = func() func(t testing.TB, pkg string) string {
	var mu sync.Mutex
	return func(t testing.TB, pkg string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		path := filepath.Join(binaries, "tool-"+filepath.Base(pkg))
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
		return path
	}
}()

// argosy runs the operators' command line against the fleet and returns its
// exit code and standard output.
func (f *fleet) argosy(args ...string) (int, string) {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), tool(f.t, "../cmd/argosy"), args...)
	cmd.Env = []string{"ARGOSY_ADMIN_URL=http://" + f.addrs.Admin, "ARGOSY_ACTOR=ada@desk", "HOME=" + f.t.TempDir()}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState.ExitCode() < 0 {
			f.t.Fatalf("argosy %v: %v", args, err)
		}
		f.t.Logf("argosy %s: exit code %d\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), errs.Bytes())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// mustArgosy is argosy that must exit 0.
func (f *fleet) mustArgosy(args ...string) string {
	f.t.Helper()
	code, out := f.argosy(args...)
	if code != 0 {
		f.t.Fatalf("argosy %s: exit code %d\n%s\n%s", strings.Join(args, " "), code, out, f.out)
	}
	return out
}

// awaitArgosy runs argosy until it prints what is wanted.
func (f *fleet) awaitArgosy(want string, args ...string) string {
	f.t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(100 * time.Millisecond); ; {
		out := f.mustArgosy(args...)
		if strings.Contains(out, want) {
			return out
		}
		select {
		case <-deadline:
			f.t.Fatalf("argosy %s never printed %q, but\n%s", strings.Join(args, " "), want, out)
		case <-tick:
		}
	}
}

func TestAnOperatorFindsAndDiscardsAPoisonousEvent(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	id := f.must("POST", "/v1/orders", "k1", order("tok_ok", f.products()[0])).field("id")
	poison := exec.Command(tool(t, "./poison"), sqlite.Path(f.dir, "order"), "argosy.shop.order.v1.OrderConfirmed", "poison-1")
	if out, err := poison.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	list := []string{"event", "dead", "list", "--service", "notify", "--key", "poison-1", "--output", "json"}
	var found struct{ DeadLetters []struct{ ID string } }
	if err := json.Unmarshal([]byte(f.awaitArgosy(`"key": "poison-1"`, list...)), &found); err != nil || len(found.DeadLetters) != 1 {
		t.Fatalf("%v %v", found, err)
	}
	letter := found.DeadLetters[0].ID
	page := f.mustArgosy("event", "dead", "show", letter)
	for _, want := range []string{"OrderConfirmed", "attempts:", "15 bytes that cannot be decoded"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of the letter does not say %q:\n%s", want, page)
		}
	}
	if s := f.awaitEnd(id); s != "CONFIRMED" { // the poison kept nobody waiting
		t.Errorf("the order ended %s", s)
	}
	f.mustArgosy("event", "dead", "replay", letter, "--reason", "the decoder was mended, it is said")
	f.awaitArgosy(`"key": "poison-1"`, list...) // it was not
	if code, _ := f.argosy("event", "dead", "discard", "--all", "--limit", "0", "--reason", "nobody can read it"); code != 2 {
		t.Errorf("a script discards without --yes: exit code %d", code)
	}
	f.mustArgosy("event", "dead", "discard", "--all", "--limit", "0", "--reason", "nobody can read it", "--yes")
	if out := f.mustArgosy("event", "dead", "list"); out != "" {
		t.Errorf("letters are left:\n%s", out)
	}
	f.green(30 * time.Second)
}

func TestAnOperatorParksASagaAndLetsItGoOn(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("customer@shop.test")
	bank := pidOf(t, f.dir, "bank")
	if err := syscall.Kill(bank, syscall.SIGSTOP); err != nil { // it answers nobody
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(bank, syscall.SIGCONT) }) // it may have gone with the shop
	id := f.must("POST", "/v1/orders", "k1", order("tok_ok", f.products()[0])).field("id")
	f.awaitArgosy(`"authorize"`, "saga", "list", "--saga", "fulfil-order", "--output", "json")
	f.mustArgosy("saga", "park", id, "--reason", "the bank is down")
	f.awaitArgosy(id, "saga", "list", "--state", "parked")
	if err := syscall.Kill(bank, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.mustArgosy("saga", "resume", id, "--reason", "the bank is back")
	awaitDelivery(t, f, id)
	var run struct {
		History []struct{ Actor, Reason string }
	}
	if err := json.Unmarshal([]byte(f.mustArgosy("saga", "show", id, "--saga", "fulfil-order", "--output", "json")), &run); err != nil {
		t.Fatal(err)
	}
	var by []string
	for _, e := range run.History {
		if e.Actor != "" {
			by = append(by, e.Actor+": "+e.Reason)
		}
	}
	if got := strings.Join(by, ", "); got != "ada@desk: the bank is down, ada@desk: the bank is back" {
		t.Errorf("the history tells of %q", got)
	}
	f.green(30 * time.Second)
}
