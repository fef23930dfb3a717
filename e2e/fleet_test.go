package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/internal/pgtest"
)

const password = "correct-horse-battery"

// build builds the shop once for all tests, with build tags if any.
var build = func() func(t testing.TB, tags string) string {
	var mu sync.Mutex
	built := map[string]string{}
	return func(t testing.TB, tags string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if path, ok := built[tags]; ok {
			return path
		}
		path := filepath.Join(binaries, "shop-"+tags)
		cmd := exec.Command("go", "build", "-tags", tags, "-o", path, "../shop")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the shop: %v\n%s", err, out)
		}
		built[tags] = path
		return path
	}
}()

// binaries is where the programs are built; it goes with the test run.
var binaries string

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "argosy-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binaries = dir
		return pgtest.MainWithout(m)
	}()
	os.Exit(code)
}

// fleet is a running shop.
type fleet struct {
	t       testing.TB
	bin     string
	dir     string
	env     []string
	cmd     *exec.Cmd
	out     *output
	exited  chan struct{}
	exitErr error
	here    func() error // stops a fleet that is in this process; nil: it is not
	addrs   struct{ HTTP, GRPC, Admin string }
	token   string
	header  map[string]string // sent with every request
	took    time.Duration
}

// start starts a shop in dir and waits until it is ready.
func start(t testing.TB, bin, dir string, env ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, bin: bin, dir: dir, env: env, out: &output{}, exited: make(chan struct{})}
	addrFile := filepath.Join(t.TempDir(), "addrs.json")
	f.cmd = exec.Command(bin, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--data", dir, "--addr-file", addrFile, "--log-format", "json")
	f.cmd.Env = append(append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password, "ARGOSY_LOG_LEVEL=warn"), env...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begun := time.Now()
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.exited)
		f.exitErr = f.cmd.Wait()
	}()
	t.Cleanup(f.killGroup)
	f.awaitFile(addrFile)
	f.took = time.Since(begun)
	return f
}

// output is what a process prints; it may be read while the process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// awaitFile waits for the address file, which is written once the fleet is ready.
func (f *fleet) awaitFile(path string) {
	f.t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.Tick(2 * time.Millisecond); ; {
		if b, err := os.ReadFile(path); err == nil {
			if err := json.Unmarshal(b, &f.addrs); err != nil {
				f.t.Fatalf("address file: %v", err)
			}
			return
		}
		select {
		case <-f.exited:
			f.t.Fatalf("the shop ended at its start: %v\n%s", f.exitErr, f.out)
		case <-deadline:
			f.killGroup()
			f.t.Fatalf("the shop was not ready in time\n%s", f.out)
		case <-tick:
		}
	}
}

// kill kills the shop alone with SIGKILL; bank and carrier go on.
func (f *fleet) kill() {
	_ = f.cmd.Process.Kill() // it may be gone already
	<-f.exited
}

// killGroup kills the shop, the bank and the carrier with SIGKILL.
func (f *fleet) killGroup() {
	_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL) // the group may be gone already
	<-f.exited
}

// stop asks the shop to drain and returns how it ended.
func (f *fleet) stop() error {
	f.t.Helper()
	if f.here != nil {
		return f.here()
	}
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	select {
	case <-f.exited:
		return f.exitErr
	case <-time.After(30 * time.Second):
		f.t.Fatalf("the shop did not end after SIGTERM\n%s", f.out)
		return nil
	}
}

// reply is an answer of the shop.
type reply struct {
	status int
	body   []byte
	header http.Header
}

func (r reply) field(name string) string {
	var m map[string]any
	if json.Unmarshal(r.body, &m) != nil {
		return ""
	}
	s, _ := m[name].(string)
	return s
}

var client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

// call sends one request as the signed-in customer.
func (f *fleet) call(method, path, key string, body any) (reply, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://"+f.addrs.HTTP+path, in)
	if err != nil {
		return reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+f.token)
	}
	for name, value := range f.header {
		req.Header.Set(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, b, resp.Header}, err
}

// must is call for requests that succeed.
func (f *fleet) must(method, path, key string, body any) reply {
	f.t.Helper()
	r, err := f.call(method, path, key, body)
	if err != nil {
		f.t.Fatalf("%s %s: %v\n%s", method, path, err, f.out)
	}
	if r.status >= 300 {
		f.t.Fatalf("%s %s answered %d: %s", method, path, r.status, r.body)
	}
	return r
}

// signIn gets the token of a development user.
func (f *fleet) signIn(email string) {
	f.t.Helper()
	f.token = ""
	f.token = f.must("POST", "/v1/sessions", "", map[string]string{"email": email, "password": password}).field("token")
	if f.token == "" {
		f.t.Fatal("no token")
	}
}

// products returns the ids of the products.
func (f *fleet) products() []string {
	f.t.Helper()
	var list struct{ Products []struct{ ID string } }
	if err := json.Unmarshal(f.must("GET", "/v1/products?pageSize=200", "", nil).body, &list); err != nil {
		f.t.Fatal(err)
	}
	var ids []string
	for _, p := range list.Products {
		ids = append(ids, p.ID)
	}
	return ids
}

type placement struct {
	Lines        []placedLine `json:"lines"`
	PaymentToken string       `json:"paymentToken"`
}

type placedLine struct {
	ProductID string `json:"productId"`
	Quantity  int    `json:"quantity"`
}

// awaitEnd watches an order until it ends and returns its last state.
func (f *fleet) awaitEnd(id string) string {
	f.t.Helper()
	r := f.must("GET", "/v1/orders/"+id+":watch", "", nil)
	lines := strings.Split(strings.TrimSpace(string(r.body)), "\n")
	var last struct{ State string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		f.t.Fatalf("watch: %v: %s", err, r.body)
	}
	return last.State
}

// report is what shop audit prints.
type report struct {
	OK      bool
	Quiet   bool
	Waiting string
	Checks  []struct {
		Name   string
		OK     bool
		Detail string
	}
}

func (r report) String() string {
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%v %s: %s\n", c.OK, c.Name, c.Detail)
	}
	if r.Waiting != "" {
		fmt.Fprintf(&b, "waiting for: %s\n", r.Waiting)
	}
	return b.String()
}

// audit runs shop audit, in the environment of the fleet, and returns its exit
// code and report.
func audit(t testing.TB, bin, dir string, wait time.Duration, env ...string) (int, report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait+30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "audit", "--data", dir, "--wait", wait.String(), "--output", "json")
	cmd.Env = append(os.Environ(), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("shop audit: %v", err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("shop audit: %v: %s%s", err, out.Bytes(), errs.Bytes())
	}
	return cmd.ProcessState.ExitCode(), r
}

// green fails the test unless the audit is green.
func (f *fleet) green(wait time.Duration) report {
	f.t.Helper()
	code, r := audit(f.t, f.bin, f.dir, wait, f.env...)
	if code != 0 {
		f.t.Fatalf("shop audit exited %d:\n%s\n%s", code, r, f.out)
	}
	return r
}
