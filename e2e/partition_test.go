//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest/torture"
	"github.com/argosy-go/argosy/auth"
)

// TestAPartitionBetweenTwoServicesHealsWithoutALostOrDoubledOrder runs the shop
// as one process a service, each on a machine of its own, and cuts the line
// between two that talk to each other while customers order: what goes there,
// what comes back, or both. The short run draws some of the cuts; all of them,
// with the report:
//
//	make partitions
//
// ARGOSY_LONG=1 asks for all of them, ARGOSY_TORTURE_REPORT for the report, and
// ARGOSY_TORTURE_SEED for the order of a run before.
func TestAPartitionBetweenTwoServicesHealsWithoutALostOrDoubledOrder(t *testing.T) {
	if err := torture.Missing(); err != nil {
		if strings.Contains(","+os.Getenv("ARGOSY_TEST_REQUIRE")+",", ",netns,") {
			t.Fatal(err)
		}
		t.Logf("NOT TESTED: %v", err)
		return
	}
	long := os.Getenv("ARGOSY_LONG") != ""
	s := newSpread(t)
	// A long cut may outlive the leases, and the 10 s after which the kernel
	// gives up on a connection that nobody acknowledges.
	least, most, every, strikes := 3*time.Second, 3*time.Second, 5*time.Second, 3
	rate := 10.0 // customers a second
	if long {
		most, every, rate = 12*time.Second, 16*time.Second, 5
	}
	cuts := chosen(t, s.cuts())
	for i := range cuts {
		cuts[i].Min, cuts[i].Max = least, most
	}
	if long {
		strikes = len(cuts)
	}
	length := time.Duration(strikes+1)*every - time.Second // each cut has time to heal before the next
	seed := nightSeed(t, uint64(time.Now().UnixNano()))
	r := torture.Run(t, torture.Plan{
		Seed: seed, Length: length, Every: every, Patience: patience,
		Processes: s.processes, Faults: cuts,
		Load: s.load(rate, length, seed), Probe: s.probe, Quiet: s.quiet, Invariant: s.green,
		Report: reportFile(t),
	})
	if len(r.Events) != strikes {
		t.Errorf("%d cuts of %d", len(r.Events), strikes)
	}
	for _, e := range r.Events {
		t.Logf("%-40s held %v, whole again %v after: %s", e.Fault, (e.Healed - e.Injected).Round(time.Millisecond), (e.Recovered - e.Healed).Round(time.Millisecond), e.Notes)
	}
	for _, f := range r.Load {
		t.Logf("%s: %s", f.Name, f.Value)
	}
}

// spread is the shop as one process a service, each with a network of its own.
// What it shares with a night in one process is the night's: its network, its
// load and its audit.
type spread struct {
	night
	about     argosy.Description
	ca        *auth.LocalCA
	processes []*torture.Process // in the order of their start
}

func newSpread(t *testing.T) *spread {
	t.Helper()
	s := &spread{night: night{t: t, bin: build(t, ""), secret: hookSecret, dir: t.TempDir()}}
	out, err := exec.Command(s.bin, "--describe", "--data", s.dir).Output()
	if err != nil {
		t.Fatalf("describe the shop: %v", err)
	}
	if err := json.Unmarshal(out, &s.about); err != nil {
		t.Fatal(err)
	}
	s.about.Services = slices.DeleteFunc(s.about.Services, func(d argosy.ServiceDescription) bool { return d.Name == "witness" })
	if s.ca, err = auth.NewLocalCA(auth.LocalCAConfig{Fleet: s.about.Program}); err != nil {
		t.Fatal(err)
	}
	hosts := []string{"broker", "bank", "carrier"}
	for _, d := range s.about.Services {
		hosts = append(hosts, d.Name)
	}
	s.net = torture.NewNetwork(t, hosts...)
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: s.net.Hub.Dial, DisableKeepAlives: true}}
	s.processes = append(s.processes, s.broker(), s.partner("bank"), s.partner("carrier"))
	for _, d := range s.about.Services {
		s.processes = append(s.processes, s.service(d.Name))
	}
	s.fleets = s.processes[len(s.processes)-1:] // the edge: it is where customers come
	return s
}

// edgeOf the fleet is the service that has the HTTP edge.
const edgeOf = "web"

func (s *spread) at(host, port string) string { return net.JoinHostPort(s.net.Host(host).IP, port) }

// broker is the embedded broker as a process of its own.
func (s *spread) broker() *torture.Process {
	program := buildArgosy(s.t)
	return &torture.Process{
		Name: "broker", Host: s.net.Host("broker"),
		Command: func() *exec.Cmd {
			return exec.Command(program, "broker", "--data", s.dir, "--listen", s.at("broker", natsPort))
		},
		Ready: func(ctx context.Context) error {
			conn, err := s.net.Hub.Dial(ctx, "tcp", s.at("broker", natsPort))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
}

// partner is the bank or the carrier. Its webhooks go to the edge.
func (s *spread) partner(name string) *torture.Process {
	return &torture.Process{
		Name: name, Host: s.net.Host(name),
		Command: func() *exec.Cmd {
			return exec.Command(s.bin, name, "--dir", filepath.Join(s.dir, "witness"), "--addr", s.at(name, witnessPort))
		},
		Ready: func(ctx context.Context) error {
			hook := map[string]string{"url": s.url(edgeOf) + "/v1/webhooks/" + name, "secret": s.secret}
			return s.send(ctx, http.MethodPut, "http://"+s.at(name, witnessPort)+"/webhook", hook, nil)
		},
	}
}

// service is the process of one service.
func (s *spread) service(name string) *torture.Process {
	var grpc, http []string
	for _, d := range s.about.Services {
		grpc, http = append(grpc, d.Name+"="+s.at(d.Name, grpcPort)), append(http, d.Name+"="+s.at(d.Name, httpPort))
	}
	tls := filepath.Join(s.dir, "tls")
	if err := s.ca.Trust(tls); err != nil {
		s.t.Fatal(err)
	}
	cert, err := s.ca.Write(tls, name, name)
	if err != nil {
		s.t.Fatal(err)
	}
	args := []string{
		"--only", name, "--tls-cert", cert.Cert, "--tls-key", cert.Key, "--tls-ca", cert.CA, "--peers", strings.Join(grpc, ","), "--origin", s.url(edgeOf), "--data", s.dir, "--broker", "nats://" + s.at("broker", natsPort),
		"--http", s.at(name, httpPort), "--grpc", s.at(name, grpcPort), "--admin", s.at(name, adminPort),
		"--banner=false", "--log-format", "json", "--log-level", "warn",
		"--payment.bank-url", "http://" + s.at("bank", witnessPort), "--shipping.carrier-url", "http://" + s.at("carrier", witnessPort),
	}
	if name == edgeOf {
		args = append(args, "--edge", "--http-peers", strings.Join(http, ","))
	}
	return &torture.Process{
		Name: name, Host: s.net.Host(name),
		Command: func() *exec.Cmd {
			cmd := exec.Command(s.bin, args...)
			cmd.Env = append(os.Environ(), "ARGOSY_SHOP_DEV_PASSWORD="+password, "PAYMENT_WEBHOOK_SECRET="+s.secret, "SHIPPING_WEBHOOK_SECRET="+s.secret)
			return cmd
		},
		Ready: func(ctx context.Context) error {
			return s.send(ctx, "GET", "http://"+s.at(name, adminPort)+"/readyz", nil, nil)
		},
	}
}

const grpcPort = "9090"

// pairs are the hosts that talk to each other, who begins first: as the program
// itself describes them.
func (s *spread) pairs() [][2]string {
	owner := map[string]string{}
	for _, d := range s.about.Services {
		for _, contract := range d.Serves {
			owner[contract] = d.Name
		}
	}
	var pairs [][2]string
	for _, d := range s.about.Services {
		for _, contract := range d.Calls {
			pairs = append(pairs, [2]string{d.Name, owner[contract]})
		}
		if len(d.Serves) > 0 {
			pairs = append(pairs, [2]string{edgeOf, d.Name})
		}
		if d.NeedsBroker {
			pairs = append(pairs, [2]string{d.Name, "broker"})
		}
	}
	return pairs
}

// cuts are, of each pair, one each way and one both ways.
func (s *spread) cuts() []torture.Fault {
	var all []torture.Fault
	for _, p := range s.pairs() {
		for _, f := range []torture.Fault{s.net.OneWay(p[0], p[1]), s.net.OneWay(p[1], p[0]), s.net.Partition(p[0], p[1])} {
			f.Inject = s.counted(f.Inject)
			all = append(all, f)
		}
	}
	return all
}

// counted notes how many orders are acknowledged while a fault lasts.
func (s *spread) counted(inject func(context.Context, *torture.Scene) (torture.Heal, error)) func(context.Context, *torture.Scene) (torture.Heal, error) {
	return func(ctx context.Context, scene *torture.Scene) (torture.Heal, error) {
		before, err := acknowledged(s.dir)
		if err != nil {
			return nil, err
		}
		heal, err := inject(ctx, scene)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			after, err := acknowledged(s.dir)
			scene.Note("%d orders acknowledged meanwhile", after-before)
			return errors.Join(heal(ctx), err)
		}, nil
	}
}

// probe uses every line: it signs in, looks at the products, puts one into the
// cart at today's price, orders it, and waits until it is delivered and the
// customer has been written to.
func (s *spread) probe(ctx context.Context) error {
	var session struct{ Token string }
	login := map[string]string{"email": "support@shop.test", "password": password} // who may read what is sent to customers
	if err := s.send(ctx, http.MethodPost, s.url(edgeOf)+"/v1/sessions", login, &session); err != nil {
		return err
	}
	bearer := "Bearer " + session.Token
	var list struct{ Products []struct{ ID string } }
	if err := s.send(ctx, http.MethodGet, s.url(edgeOf)+"/v1/products?pageSize=1", nil, &list); err != nil {
		return err
	}
	product := list.Products[0].ID
	var cart struct{ PricesAsOf string }
	err := s.send(ctx, http.MethodPut, s.url(edgeOf)+"/v1/cart/items/"+product, map[string]int{"quantity": 1}, &cart, "Authorization", bearer)
	if err == nil && cart.PricesAsOf != "" {
		err = fmt.Errorf("the cart has the prices of %s", cart.PricesAsOf)
	}
	if err != nil {
		return err
	}
	return s.delivered(ctx, bearer, product)
}

// delivered orders a product and waits for all that follows.
func (s *spread) delivered(ctx context.Context, bearer, product string) error {
	var placed struct {
		ID, State string
		Delivered bool
	}
	err := s.send(ctx, http.MethodPost, s.url(edgeOf)+"/v1/orders", order("tok_ok", product), &placed,
		"Authorization", bearer, "Idempotency-Key", fmt.Sprint("probe-", s.probes.Add(1)))
	if err != nil {
		return err
	}
	var sent struct{ Messages []struct{ Kind string } }
	for !placed.Delivered || len(sent.Messages) == 0 {
		url := s.url(edgeOf) + "/v1/orders/" + placed.ID
		err := errors.Join(
			s.send(ctx, http.MethodGet, url, nil, &placed, "Authorization", bearer),
			s.send(ctx, http.MethodGet, url+"/messages", nil, &sent, "Authorization", bearer),
		)
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("order %s is %s, delivered: %v, messages: %d", placed.ID, placed.State, placed.Delivered, len(sent.Messages)), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// quiet waits until all work has ended.
func (s *spread) quiet(ctx context.Context) error {
	for {
		r, err := s.audit(ctx)
		if err == nil && r.Quiet {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the shop waits for: %s", r.Waiting), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
