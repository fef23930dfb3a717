package bank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

// TestMain is the bank itself when a test starts it as a child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bank" {
		os.Exit(Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// client speaks to a bank.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

func newClient(t testing.TB, base string) *client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, base: base, http: &http.Client{Transport: transport}}
}

// start runs a bank in this process until the test ends.
func start(t testing.TB, cfg Config) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		if a, ok := witness.Find(ctx, cfg.Dir, Name); ok {
			return newClient(t, a.URL())
		}
		select {
		case err := <-ended:
			ended <- nil
			t.Fatal(err)
		default:
		}
	}
}

func (c *client) try(ctx context.Context, key, path string, body any) (int, []byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Error(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	return resp.StatusCode, reply, err
}

// post sends a request that must be answered with the status.
func (c *client) post(status int, key, path string, body any) map[string]any {
	c.t.Helper()
	got, reply, err := c.try(context.Background(), key, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if got != status {
		c.t.Fatalf("%s %s: %d %s, want %d", key, path, got, reply, status)
	}
	out := map[string]any{}
	if err := json.Unmarshal(reply, &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

func authorize(ref, token string) authorizeRequest {
	return authorizeRequest{Reference: ref, Token: token, Amount: 1299, Currency: "EUR"}
}

func empty() struct{} { return struct{}{} }

func totals(t testing.TB, dir string) map[string]*Authorization {
	t.Helper()
	entries, err := ledger.Read(LedgerPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	return Totals(entries)
}

func TestAnOrderIsPaidAndGivenBack(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Config{Dir: dir})
	if a := c.post(201, "k1", "/authorizations", authorize("o1", TokenOK)); a["state"] != "AUTHORIZED" || a["id"] == "" {
		t.Fatal(a)
	}
	if a := c.post(200, "k2", "/authorizations/o1/captures", empty()); a["state"] != "CAPTURED" || a["captured"] != 1299.0 {
		t.Fatal(a)
	}
	if a := c.post(200, "k3", "/authorizations/o1/refunds", amountRequest{Amount: 300}); a["state"] != "CAPTURED" || a["refunded"] != 300.0 {
		t.Fatal(a)
	}
	if a := c.post(200, "k4", "/authorizations/o1/refunds", empty()); a["state"] != "REFUNDED" || a["refunded"] != 1299.0 {
		t.Fatal(a)
	}
	c.post(200, "k5", "/authorizations/o1/refunds", empty())
	if a := totals(t, dir)["o1"]; a.Captured != 1299 || a.Refunded != 1299 || a.Captures != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestWhatTheBankRefuses(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Config{Dir: dir})
	for _, tt := range []struct {
		name, key, path string
		body            any
		status          int
		field, value    string
	}{
		{"no key", "", "/authorizations", authorize("a", TokenOK), 400, "code", "KEY_REQUIRED"},
		{"an unknown token", "a1", "/authorizations", authorize("a", "4111111111111111"), 422, "code", "UNKNOWN_TOKEN"},
		{"an unknown field", "a2", "/authorizations", map[string]any{"cvv": 1}, 400, "code", "BAD_REQUEST"},
		{"no amount", "a3", "/authorizations", authorizeRequest{Reference: "a", Token: TokenOK, Currency: "EUR"}, 422, "code", "INVALID"},
		{"a capture of nothing known", "a4", "/authorizations/a/captures", empty(), 404, "code", "NOT_FOUND"},
		{"a decline is an answer", "b1", "/authorizations", authorize("b", TokenDecline), 201, "state", "DECLINED"},
		{"a declined card is not captured", "b2", "/authorizations/b/captures", empty(), 409, "code", "DECLINED"},
		{"another card after a decline", "b3", "/authorizations", authorize("b", TokenOK), 201, "state", "AUTHORIZED"},
		{"a second authorization", "b4", "/authorizations", authorize("b", TokenOK), 409, "code", "ALREADY_AUTHORIZED"},
		{"another body under a key", "b3", "/authorizations", authorize("b", TokenSlow), 422, "code", "KEY_REUSED"},
		{"another path under a key", "b3", "/authorizations/b/captures", empty(), 422, "code", "KEY_REUSED"},
		{"a part of it", "b5", "/authorizations/b/captures", amountRequest{Amount: 5}, 422, "code", "INVALID"},
		{"all of it", "b6", "/authorizations/b/captures", amountRequest{Amount: 1299, Currency: "EUR"}, 200, "state", "CAPTURED"},
		{"a second capture", "b7", "/authorizations/b/captures", empty(), 409, "code", "ALREADY_CAPTURED"},
		{"a void of what was captured", "b8", "/authorizations/b/voids", empty(), 409, "code", "ALREADY_CAPTURED"},
		{"a refund of too much", "b9", "/authorizations/b/refunds", amountRequest{Amount: 9999}, 422, "code", "INVALID"},
		{"a void before its authorize", "c1", "/authorizations/c/voids", empty(), 200, "state", "VOIDED"},
		{"the late authorize", "c2", "/authorizations", authorize("c", TokenOK), 409, "code", "CLOSED"},
		{"a void again", "c3", "/authorizations/c/voids", empty(), 200, "state", "VOIDED"},
		{"a refund before anything", "d1", "/authorizations/d/refunds", empty(), 200, "state", "CLOSED"},
		{"the late authorize after it", "d2", "/authorizations", authorize("d", TokenOK), 409, "code", "CLOSED"},
		{"an authorize that is refunded", "e1", "/authorizations", authorize("e", TokenOK), 201, "state", "AUTHORIZED"},
		{"its refund", "e2", "/authorizations/e/refunds", empty(), 200, "state", "CLOSED"},
		{"the late capture", "e3", "/authorizations/e/captures", empty(), 409, "code", "CLOSED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.t = t
			if got := c.post(tt.status, tt.key, tt.path, tt.body); got[tt.field] != tt.value {
				t.Fatalf("%v, want %s %s", got, tt.field, tt.value)
			}
		})
	}
	if a := totals(t, dir)["b"]; a.Captures != 1 || a.Captured != 1299 {
		t.Fatalf("%+v", a)
	}
}

func TestOnlyJSONIsTaken(t *testing.T) {
	c := start(t, Config{Dir: t.TempDir()})
	req, _ := http.NewRequest(http.MethodPost, c.base+"/authorizations", bytes.NewReader([]byte(`{}`)))
	req.Header.Set("Idempotency-Key", "k")
	req.Header.Set("Content-Type", "text/plain")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Fatal(resp.Status)
	}
}

func TestSixtyFourCopiesOfARequestAreOneOperation(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Config{Dir: dir})
	c.post(201, "a", "/authorizations", authorize("o", TokenOK))
	replies := make([]string, 64)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			status, reply, err := c.try(context.Background(), "cap", "/authorizations/o/captures", empty())
			replies[i] = fmt.Sprint(status, string(reply), err)
		})
	}
	wg.Wait()
	for _, r := range replies {
		if r != replies[0] {
			t.Fatalf("%s\n%s", r, replies[0])
		}
	}
	if a := totals(t, dir)["o"]; a.Captures != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestTheTimeoutTokenBooksHangsOnceAndThenAnswers(t *testing.T) {
	dir := t.TempDir()
	c := start(t, Config{Dir: dir})
	for _, op := range []struct {
		key, path string
		body      any
		done      func(*Authorization) bool
	}{
		{"a", "/authorizations", authorize("o", TokenTimeout), func(a *Authorization) bool { return a.State == StateAuthorized }},
		{"c", "/authorizations/o/captures", empty(), func(a *Authorization) bool { return a.Captures == 1 }},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
		if _, _, err := c.try(ctx, op.key, op.path, op.body); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the first %s: %v", op.path, err)
		}
		cancel()
		if a := totals(t, dir)["o"]; a == nil || !op.done(a) {
			t.Fatalf("not booked after the hang: %+v", a)
		}
		status, _, err := c.try(context.Background(), op.key, op.path, op.body)
		if err != nil || status/100 != 2 {
			t.Fatalf("the same key again: %d, %v", status, err)
		}
	}
	if a := totals(t, dir)["o"]; a.Captures != 1 {
		t.Fatalf("%+v", a)
	}
}

func TestWebhooksAreSignedAndComeUntilTheyAreTaken(t *testing.T) {
	const secret = "s3cret"
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	var refuse atomic.Int64
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		event, err := webhook.Open(secret, r.Header, body, time.Now())
		if err != nil {
			t.Error(err)
		}
		if refuse.Add(1) <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var a Authorization
		if err := json.Unmarshal(event.Data, &a); err != nil || a.Reference == "" {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[event.Type+"/"+a.Reference]++
		if len(seen) == 20 {
			select {
			case <-all:
			default:
				close(all)
			}
		}
	}))
	defer hook.Close()
	dir := t.TempDir()
	// The first bank has nowhere to send to; the second learns it, and has not forgotten.
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Config{Dir: dir}) }()
	c := newClient(t, await(t, dir))
	for i := range 10 {
		ref := "o" + strconv.Itoa(i)
		c.post(201, "a"+ref, "/authorizations", authorize(ref, TokenOK))
		c.post(200, "c"+ref, "/authorizations/"+ref+"/captures", empty())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	start(t, Config{Dir: dir, Delivery: webhook.Config{Twice: 1, Jitter: 20 * time.Millisecond}})
	a, ok := witness.Find(t.Context(), dir, Name)
	if !ok {
		t.Fatal("no address")
	}
	if err := witness.Point(t.Context(), a, hook.URL, secret); err != nil {
		t.Fatal(err)
	}
	<-all
}

// await returns the base URL of the bank that comes up in dir.
func await(t testing.TB, dir string) string {
	for t.Context().Err() == nil {
		if a, ok := witness.Find(t.Context(), dir, Name); ok {
			return a.URL()
		}
	}
	t.Fatal("no bank came up")
	return ""
}

func TestAnAcknowledgedOperationSurvivesKill9(t *testing.T) {
	dir := t.TempDir()
	launch := witness.Launch{Name: Name, Dir: dir, Command: []string{os.Args[0], "bank"}}
	acknowledged := map[string]string{} // key to reply
	var mu sync.Mutex
	for round := range 3 {
		p, err := witness.Ensure(t.Context(), launch)
		if err != nil {
			t.Fatal(err)
		}
		if p.Adopted {
			t.Fatal("adopted a bank that was killed")
		}
		c := newClient(t, p.URL())
		kill := make(chan struct{})
		var once sync.Once
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for i := 0; ; i++ {
					ref := fmt.Sprintf("r%d-w%d-%d", round, worker, i)
					status, reply, err := c.try(context.Background(), ref, "/authorizations", authorize(ref, TokenOK))
					if err != nil {
						return // killed
					}
					if status != 201 {
						t.Errorf("%d %s", status, reply)
						return
					}
					mu.Lock()
					acknowledged[ref] = string(reply)
					if len(acknowledged) > 150*(round+1) {
						once.Do(func() { close(kill) })
					}
					mu.Unlock()
				}
			})
		}
		<-kill
		proc, err := os.FindProcess(p.PID)
		if err != nil {
			t.Fatal(err)
		}
		if err := proc.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.Exited()
		wg.Wait()
		have := totals(t, dir)
		for ref := range acknowledged {
			if have[ref] == nil {
				t.Fatalf("round %d: %s was acknowledged and is not in the ledger", round, ref)
			}
		}
	}
	p, err := witness.Ensure(t.Context(), launch)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, p.URL())
	for ref, want := range acknowledged {
		status, reply, err := c.try(context.Background(), ref, "/authorizations", authorize(ref, TokenOK))
		if err != nil || status != 201 || string(reply) != want {
			t.Fatalf("%s again: %d %s %v, want %s", ref, status, reply, err, want)
		}
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestABankIsAdoptedAndKeepsOthersOut(t *testing.T) {
	dir := t.TempDir()
	launch := witness.Launch{Name: Name, Dir: dir, Command: []string{os.Args[0], "bank"}, Webhook: "http://127.0.0.1:1/hook", Secret: "s"}
	first, err := witness.Ensure(t.Context(), launch)
	if err != nil {
		t.Fatal(err)
	}
	second, err := witness.Ensure(t.Context(), launch)
	if err != nil || !second.Adopted || second.Address != first.Address {
		t.Fatalf("%+v, %v", second, err)
	}
	out, err := exec.Command(os.Args[0], "bank", "--dir", dir).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("another one works in")) {
		t.Fatalf("a second bank in one directory: %v: %s", err, out)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-first.Exited()
	if _, err := os.Stat(filepath.Join(dir, "bank.addr.json")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the address outlived the bank: %v", err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Fatalf("a second Stop: %v", err)
	}
}

func TestTheLedgerIsServed(t *testing.T) {
	c := start(t, Config{Dir: t.TempDir()})
	c.post(201, "a", "/authorizations", authorize("o", TokenSlow))
	resp, err := c.http.Get(c.base + "/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e ledger.Entry
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Kind != Authorize || e.Amount != 1299 || e.Key != "a" {
		t.Fatalf("%+v, %v", e, err)
	}
	resp, err = c.http.Get(c.base + "/authorizations/o")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a Authorization
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || a.State != StateAuthorized {
		t.Fatalf("%+v, %v", a, err)
	}
}

func BenchmarkAuthorize(b *testing.B) {
	c := start(b, Config{Dir: b.TempDir()})
	var n atomic.Int64
	b.SetParallelism(32) // 64 callers on two cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ref := "o" + strconv.FormatInt(n.Add(1), 10)
			status, reply, err := c.try(context.Background(), ref, "/authorizations", authorize(ref, TokenOK))
			if err != nil || status != 201 {
				b.Errorf("%d %s %v", status, reply, err)
				return
			}
		}
	})
}
