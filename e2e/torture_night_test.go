//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/torture"
)

// night is a shop in which everything goes wrong: the fleet, the bank and the
// carrier on machines of their own, where the test may make some, and a bad
// line between each two.
type night struct {
	t       *testing.T
	bin     string
	net     *torture.Network
	disk    *torture.Disk // nil without root
	dir     string        // data of the fleet
	secret  string
	store   string       // URL of the store, as the test reaches it; empty: files in dir
	client  *http.Client // of a customer
	fleets  []*torture.Process
	bank    *torture.Process
	carrier *torture.Process
	lines   []*torture.Proxy // to the bank, to the carrier, and more
	poison  atomic.Int64     // messages that nobody can decode, so far
	probes  atomic.Int64

	discarded bool // the poison has been

	mu             sync.Mutex
	token, product string // of a customer who probes
}

const adminToken = "operators-of-the-night"

const hookSecret = "a-secret-of-the-night-that-is-long-enough"

// newNight makes the machines and the disk. replicas is how many fleets there are.
func newNight(t *testing.T, replicas int) *night {
	t.Helper()
	n := &night{t: t, bin: build(t, ""), secret: hookSecret}
	hosts := []string{"bank", "carrier", "postgres", "nats"}
	for i := range replicas {
		hosts = append(hosts, fleetName(i))
	}
	base := t.TempDir()
	if err := torture.Missing(); err == nil {
		n.net, n.disk = torture.NewNetwork(t, hosts...), torture.NewDisk(t, diskSize)
		base = n.disk.Dir
	} else if strings.Contains(","+os.Getenv("ARGOSY_TEST_REQUIRE")+",", ",netns,") {
		t.Fatal(err)
	} else {
		t.Logf("no partitions, no loss and no full disk: %v", err)
		n.net = torture.NewLoopback(hosts...)
	}
	n.dir = filepath.Join(base, "data")
	n.outside(t.TempDir())
	n.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: n.net.Hub.Dial, DisableKeepAlives: true}}
	n.bank, n.carrier = n.witness("bank"), n.witness("carrier")
	return n
}

// diskSize leaves room for what an hour writes.
const diskSize = 1 << 30

func fleetName(i int) string { return fmt.Sprint("shop", i+1) }

// outside keeps the ledgers of the bank and the carrier and the journals of
// the load off the disk that fills up: they are what the shop is held against.
func (n *night) outside(dir string) {
	n.t.Helper()
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	for _, part := range []string{"witness", "load"} {
		err := errors.Join(os.Mkdir(filepath.Join(dir, part), 0o700), os.Symlink(filepath.Join(dir, part), filepath.Join(n.dir, part)))
		if err != nil {
			n.t.Fatal(err)
		}
	}
}

const (
	witnessPort = "7100"
	linePort    = "7101"
	httpPort    = "8080"
	adminPort   = "9091"
)

// witness returns the bank or the carrier, with a line in front of it. Its
// webhooks go to the first fleet.
func (n *night) witness(name string) *torture.Process {
	host := n.net.Host(name)
	addr := net.JoinHostPort(host.IP, witnessPort)
	n.lines = append(n.lines, torture.NewProxy(n.t, torture.ProxyConfig{
		Name: name, Host: host, Addr: net.JoinHostPort(host.IP, linePort), From: host, Target: addr,
	}))
	return &torture.Process{
		Name: name, Host: host,
		Command: func() *exec.Cmd {
			return exec.Command(n.bin, name, "--dir", filepath.Join(n.dir, "witness"), "--addr", addr)
		},
		Ready: func(ctx context.Context) error {
			hook := map[string]string{"url": n.url(fleetName(0)) + "/v1/webhooks/" + name, "secret": n.secret}
			return n.send(ctx, http.MethodPut, "http://"+addr+"/webhook", hook, nil)
		},
	}
}

func (n *night) url(fleet string) string {
	return "http://" + net.JoinHostPort(n.net.Host(fleet).IP, httpPort)
}

// fleet returns a shop on its machine.
func (n *night) fleet(i int, args ...string) *torture.Process {
	host := n.net.Host(fleetName(i))
	at := func(port string) string { return net.JoinHostPort(host.IP, port) }
	p := &torture.Process{
		Name: host.Name, Host: host,
		Command: func() *exec.Cmd {
			cmd := exec.Command(n.bin, append([]string{
				"--http", at(httpPort), "--grpc", at("9090"), "--admin", at(adminPort), "--log-format", "json", "--log-level", "warn",
				"--witness.start=false", "--payment.bank-url", "http://" + n.lines[0].Addr, "--shipping.carrier-url", "http://" + n.lines[1].Addr,
			}, args...)...)
			cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password, "ARGOSY_ADMIN_TOKEN="+adminToken,
				"PAYMENT_WEBHOOK_SECRET="+n.secret, "SHIPPING_WEBHOOK_SECRET="+n.secret)
			if os.Getenv("ARGOSY_TORTURE") == "" {
				for _, lease := range []string{"ORDER_SAGA_LEASE", "ORDER_LEASE_TTL", "CATALOG_LEASE_TTL", "CART_LEASE_TTL", "SHIPPING_LEASE_TTL", "NOTIFY_LEASE_TTL"} {
					cmd.Env = append(cmd.Env, lease+"="+shortLease.String())
				}
			}
			return cmd
		},
		Ready: func(ctx context.Context) error {
			return n.send(ctx, http.MethodGet, "http://"+at(adminPort)+"/readyz", nil, nil)
		},
	}
	n.fleets = append(n.fleets, p)
	return p
}

// shortLease is how long leases last in a short night, so that a process can
// be paused past them.
const shortLease = 3 * time.Second

// send sends JSON and decodes the answer into reply, which may be nil.
func (n *night) send(ctx context.Context, method, url string, body, reply any, headers ...string) error {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s answered %d: %s", method, url, resp.StatusCode, answer)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(answer, reply)
}

// probe is a customer who orders at each fleet and waits for the confirmation,
// which takes the whole shop, the bank and the carrier.
func (n *night) probe(ctx context.Context) error {
	token, product, err := n.visitor(ctx)
	if err != nil {
		return err
	}
	for _, f := range n.fleets {
		if err := n.buy(ctx, n.url(f.Name), "Bearer "+token, product); err != nil {
			return err
		}
	}
	return nil
}

func (n *night) buy(ctx context.Context, url, bearer, product string) error {
	var placed struct{ ID, State string }
	err := n.send(ctx, http.MethodPost, url+"/v1/orders", order("tok_ok", product), &placed,
		"Authorization", bearer, "Idempotency-Key", fmt.Sprint("probe-", n.probes.Add(1)))
	if err != nil {
		return err
	}
	for placed.State != "CONFIRMED" {
		err := n.send(ctx, http.MethodGet, url+"/v1/orders/"+placed.ID, nil, &placed, "Authorization", bearer)
		if err == nil && placed.State != "PENDING" && placed.State != "CONFIRMED" {
			return fmt.Errorf("order %s is %s", placed.ID, placed.State)
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("order %s is %s", placed.ID, placed.State), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// visitor returns the token of a customer and a product, asked for once.
func (n *night) visitor(ctx context.Context) (token, product string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.product != "" {
		return n.token, n.product, nil
	}
	first := n.url(n.fleets[0].Name)
	var session struct{ Token string }
	login := map[string]string{"email": "customer@shop.test", "password": password}
	if err := n.send(ctx, http.MethodPost, first+"/v1/sessions", login, &session); err != nil {
		return "", "", err
	}
	var list struct{ Products []struct{ ID string } }
	if err := n.send(ctx, http.MethodGet, first+"/v1/products?pageSize=1", nil, &list); err != nil {
		return "", "", err
	}
	n.token, n.product = session.Token, list.Products[0].ID
	return n.token, n.product, nil
}

// load sends customers to each fleet until ctx ends.
func (n *night) load(rate float64, length time.Duration, seed uint64) func(context.Context) ([]torture.Figure, error) {
	return func(ctx context.Context) ([]torture.Figure, error) {
		type result struct {
			figures []torture.Figure
			err     error
		}
		results := make(chan result, len(n.fleets))
		for i, f := range n.fleets {
			go func() {
				figures, err := n.customers(f.Name, rate/float64(len(n.fleets)), length, seed+uint64(i))
				results <- result{figures, err}
			}()
		}
		var all []torture.Figure
		var errs []error
		for range n.fleets {
			r := <-results
			all, errs = append(all, r.figures...), append(errs, r.err)
		}
		return all, errors.Join(errs...)
	}
}

// customers runs "shop load" against one fleet for length.
func (n *night) customers(fleet string, rate float64, length time.Duration, seed uint64) ([]torture.Figure, error) {
	cmd := exec.Command(n.bin, "load", "--url", n.url(fleet), "--data", n.dir, "--rate", fmt.Sprint(rate),
		"--duration", length.String(), "--seed", fmt.Sprint(seed), "--output", "json")
	cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := n.net.Hub.Do(cmd.Run)
	var r struct {
		Offered, Acknowledged, Cancelled, Retries, Failed int
		Errors                                            map[string]int
		P50Ms, P99Ms, MaxMs                               float64
	}
	if decoding := json.Unmarshal(out.Bytes(), &r); decoding != nil {
		return nil, errors.Join(fmt.Errorf("shop load: %w: %s%s", decoding, out.Bytes(), errs.Bytes()), err)
	}
	figures := []torture.Figure{
		{Name: fleet + ": customers", Value: fmt.Sprint(r.Offered)},
		{Name: fleet + ": acknowledged, each fsynced in the journal", Value: fmt.Sprint(r.Acknowledged)},
		{Name: fleet + ": cancelled", Value: fmt.Sprint(r.Cancelled)},
		{Name: fleet + ": attempts under a key sent before", Value: fmt.Sprint(r.Retries)},
		{Name: fleet + ": gave up", Value: fmt.Sprint(r.Failed)},
		{Name: fleet + ": p50, p99, longest until acknowledged", Value: fmt.Sprintf("%.0f ms, %.0f ms, %.0f ms", r.P50Ms, r.P99Ms, r.MaxMs)},
	}
	for what, count := range r.Errors {
		figures = append(figures, torture.Figure{Name: fleet + ": answered " + what, Value: fmt.Sprint(count)})
	}
	if r.Acknowledged == 0 {
		return figures, fmt.Errorf("%s acknowledged nothing", fleet)
	}
	return figures, nil // that customers gave up is what a night is like
}

// quiet waits until all work has ended, and has an operator clear the poison
// away. Whether all is well is asked later.
func (n *night) quiet(ctx context.Context) error {
	var last error
	for {
		r, err := n.audit(ctx)
		if err == nil && !r.Quiet {
			err = fmt.Errorf("the shop waits for: %s", r.Waiting)
		}
		if err == nil {
			err = n.discardPoison(ctx)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil { // else it was interrupted, and says only that
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// letter names a dead letter.
type letter struct {
	ID       string `json:"id"`
	Consumer string `json:"consumer"`
}

// discardPoison finds all the poison among the dead letters of notify, and
// nothing else there, and discards it as an operator does. The audit says
// whether another service has some.
func (n *night) discardPoison(ctx context.Context) error {
	host := n.net.Host(fleetName(0))
	letters := "http://" + net.JoinHostPort(host.IP, adminPort) + "/services/notify/dead-letters"
	var page struct{ DeadLetters []letter }
	if err := n.send(ctx, http.MethodGet, letters+"?limit=1000", nil, &page, "Authorization", "Bearer "+adminToken); err != nil {
		return err
	}
	want := n.poison.Load()
	for _, l := range page.DeadLetters {
		if !strings.Contains(l.ID, "poison-") { // the id names the source too
			return fmt.Errorf("%s has a dead letter that is no poison: %s", l.Consumer, l.ID)
		}
	}
	if want == 0 || len(page.DeadLetters) == 0 && n.discarded { // an audit between the two may have failed
		return nil
	}
	if int64(len(page.DeadLetters)) != want {
		return fmt.Errorf("%d dead letters of %d poisonous events", len(page.DeadLetters), want)
	}
	n.discarded = true
	request := map[string]any{"ids": page.DeadLetters, "reason": "the torture put it there"}
	var done struct{ Discarded int64 }
	err := n.send(ctx, http.MethodPost, letters+"/discard", request, &done, "Authorization", "Bearer "+adminToken, "Argosy-Actor", "torture")
	if err == nil && done.Discarded != want {
		err = fmt.Errorf("%d of %d discarded", done.Discarded, want)
	}
	return err
}

// green is the audit. What the broker has and a consumer has not fetched yet is
// in no service's store, so that it may come after all is quiet: for a while.
func (n *night) green(ctx context.Context) (string, error) {
	r, err := n.audit(ctx)
	for tick, late := time.Tick(200*time.Millisecond), time.After(45*time.Second); err == nil && !r.OK; r, err = n.audit(ctx) {
		select {
		case <-tick:
			continue
		case <-late:
		case <-ctx.Done():
		}
		break
	}
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, c := range r.Checks {
		mark := "ok"
		if !c.OK {
			mark, err = "**FAIL**", errors.New("the audit is red")
		}
		fmt.Fprintf(&text, "- %s: %s: %s\n", mark, c.Name, c.Detail)
	}
	if err != nil {
		err = errors.Join(err, n.evidence(ctx))
	}
	return text.String(), err
}

// evidence keeps the books of a red night beside its report, if that is kept.
func (n *night) evidence(ctx context.Context) error {
	dir := os.Getenv("ARGOSY_TORTURE_REPORT")
	if dir == "" {
		return nil
	}
	if n.store != "" {
		dump := exec.CommandContext(ctx, "pg_dump", "--dbname", n.store, "--file", filepath.Join(dir, n.t.Name()+".sql"))
		if out, err := dump.CombinedOutput(); err != nil {
			return fmt.Errorf("pg_dump: %w: %s", err, out)
		}
	}
	kept := filepath.Join(dir, fmt.Sprint(n.t.Name(), "-", time.Now().Unix()))
	return os.CopyFS(kept, os.DirFS(n.dir))
}

// patience bounds heals, recoveries and the audit.
const patience = 90 * time.Second

// audit runs "shop audit", which reads files and needs no machine.
func (n *night) audit(ctx context.Context) (r report, err error) {
	cmd := exec.CommandContext(ctx, n.bin, "audit", "--data", n.dir, "--store", n.store, "--output", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // what it has to say is in what it prints
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, fmt.Errorf("shop audit: %w: %s%s", err, out.Bytes(), errs.Bytes())
	}
	return r, nil
}

// second starts another fleet on the data of the first, which must refuse it.
func (n *night) second(args ...string) torture.Fault {
	return torture.Fault{Name: "start a second fleet on the same data", Targets: []string{fleetName(0)},
		Inject: func(ctx context.Context, s *torture.Scene) (torture.Heal, error) {
			cmd := exec.CommandContext(ctx, n.bin, append([]string{
				"--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--witness.start=false"}, args...)...)
			out, err := cmd.CombinedOutput()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err == nil || !bytes.Contains(out, []byte("running already")) && !bytes.Contains(out, []byte("in use")) {
				return nil, fmt.Errorf("a second fleet was not refused: %w: %s", err, out)
			}
			s.Note("refused: %s", bytes.TrimSpace(out))
			return nil, nil
		}}
}

// idlers watch orders and read nothing of what they are sent.
func (n *night) idlers() torture.Fault {
	return torture.Fault{Name: "watch products and never read", Targets: []string{"idlers"}, Max: 10 * time.Second,
		Inject: func(ctx context.Context, s *torture.Scene) (torture.Heal, error) {
			fleet := n.fleets[s.Dice.IntN(len(n.fleets))].Name
			var open []net.Conn
			for range 50 {
				conn, err := n.net.Hub.Dial(ctx, "tcp", strings.TrimPrefix(n.url(fleet), "http://"))
				if err != nil { // the fleet suffers something else
					break
				}
				open = append(open, conn)
				for range 20 {
					if _, err := fmt.Fprintf(conn, "GET /v1/products?pageSize=200 HTTP/1.1\r\nHost: %s\r\n\r\n", strings.TrimPrefix(n.url(fleet), "http://")); err != nil {
						break
					}
				}
			}
			s.Note("%d connections to %s", len(open), fleet)
			return func(context.Context) error {
				for _, conn := range open {
					_ = conn.Close() // the fleet may have ended it
				}
				return nil
			}, nil
		}}
}

// nightLength is how long a night is and how often something goes wrong:
// ARGOSY_TORTURE with a fault every two seconds, or the short one.
func nightLength(t *testing.T) (length, every time.Duration) {
	t.Helper()
	text := os.Getenv("ARGOSY_TORTURE")
	if text == "" {
		return shortNight, time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		t.Fatalf("ARGOSY_TORTURE=%s is not a duration of at least a second", text)
	}
	return d, 2 * time.Second
}

// nightSeed is ARGOSY_TORTURE_SEED; else, another in each long night, and the
// given one in a short night.
func nightSeed(t *testing.T, short uint64) uint64 {
	t.Helper()
	text := os.Getenv("ARGOSY_TORTURE_SEED")
	switch {
	case text == "" && os.Getenv("ARGOSY_TORTURE") == "":
		return short
	case text == "":
		return rand.Uint64()
	}
	var s uint64
	if _, err := fmt.Sscan(text, &s); err != nil {
		t.Fatalf("ARGOSY_TORTURE_SEED=%s is not a number", text)
	}
	return s
}

// chosen are the faults whose names match ARGOSY_TORTURE_ONLY, a regular
// expression, or all: to find what is behind a red night. In a short night none
// lasts long.
func chosen(t *testing.T, faults []torture.Fault) []torture.Fault {
	t.Helper()
	only, err := regexp.Compile(os.Getenv("ARGOSY_TORTURE_ONLY"))
	if err != nil {
		t.Fatalf("ARGOSY_TORTURE_ONLY: %v", err)
	}
	if os.Getenv("ARGOSY_TORTURE") == "" {
		for i, f := range faults {
			faults[i].Max = min(f.Max, shortLease+time.Second)
		}
	}
	return slices.DeleteFunc(faults, func(f torture.Fault) bool { return !only.MatchString(f.Name) })
}

// reportFile is ARGOSY_TORTURE_REPORT/<test>.md, or a file that goes with the test.
func reportFile(t *testing.T) string {
	dir := os.Getenv("ARGOSY_TORTURE_REPORT")
	if dir == "" {
		dir = t.TempDir()
	}
	return filepath.Join(dir, t.Name()+".md")
}
