//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/torture"
	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/nats"
	"github.com/argosy-go/argosy/internal/pgtest"
)

const natsPort = "4222"

// Two replicas of the whole shop share one Postgres and one NATS server; each
// has a line of its own to both, so that one may be cut off while the other
// works. A night of theirs takes a minute at least, most of it waiting for what
// is tried again: it is for ARGOSY_TORTURE and ARGOSY_LONG=1.
func TestABadNightOnPostgres(t *testing.T) {
	if !pgtest.Available() {
		t.Log("NOT TESTED: there is no Postgres")
		return
	}
	if os.Getenv("ARGOSY_TORTURE") == "" && os.Getenv("ARGOSY_LONG") == "" {
		t.Log("NOT TESTED: it takes ARGOSY_LONG=1 or ARGOSY_TORTURE")
		return
	}
	n := newNight(t, 2)
	length, every := nightLength(t)
	seed := nightSeed(t, 1)
	n.store = pgtest.Database(t)
	broker := n.natsd()
	key := filepath.Join(n.dir, "auth.key")
	for i := range 2 {
		pg, mq := n.depotLines(i)
		n.fleet(i, "--store", pg, "--broker", mq, "--auth-key", key, "--data", filepath.Join(n.dir, fleetName(i)))
	}
	torture.Run(t, torture.Plan{
		Seed: seed, Length: length, Every: every, Patience: patience,
		Processes: append([]*torture.Process{broker}, append(n.fleets, n.bank, n.carrier)...),
		Faults:    chosen(t, append(n.faults(length), n.depotFaults(broker)...)),
		Load:      n.load(nightRate, length, seed), Probe: n.probe, Quiet: n.quiet, Invariant: n.green,
		Report: reportFile(t),
	})
}

// natsd returns the broker on its machine.
func (n *night) natsd() *torture.Process {
	n.t.Helper()
	program := filepath.Join(binaries, "natsd")
	if out, err := exec.Command("go", "build", "-o", program, "./natsd").CombinedOutput(); err != nil {
		n.t.Fatalf("build natsd: %v\n%s", err, out)
	}
	host, dir := n.net.Host("nats"), filepath.Join(n.dir, "natsd")
	return &torture.Process{
		Name: "nats", Host: host,
		Command: func() *exec.Cmd { return exec.Command(program, host.IP, natsPort, dir) },
		Ready: func(ctx context.Context) error {
			conn, err := n.net.Hub.Dial(ctx, "tcp", net.JoinHostPort(host.IP, natsPort))
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
}

// depotLines makes the lines of a replica to Postgres and NATS, and returns the
// URLs at which it finds them.
func (n *night) depotLines(i int) (pg, mq string) {
	n.t.Helper()
	port := fmt.Sprint(7200 + i)
	u, err := url.Parse(n.store)
	if err != nil {
		n.t.Fatal(err)
	}
	target, q := u.Host, u.Query()
	if dir := q.Get("host"); dir != "" { // a private server listens on a socket
		target = filepath.Join(dir, ".s.PGSQL.5432")
	}
	q.Del("host")
	toPostgres := torture.NewProxy(n.t, torture.ProxyConfig{
		Name: fleetName(i) + " to postgres", Host: n.net.Host("postgres"), Addr: net.JoinHostPort(n.net.Host("postgres").IP, port), Target: target,
	})
	u.Host, u.RawQuery = toPostgres.Addr, q.Encode()
	toNATS := torture.NewProxy(n.t, torture.ProxyConfig{
		Name: fleetName(i) + " to nats", Host: n.net.Host("nats"), Addr: net.JoinHostPort(n.net.Host("nats").IP, port),
		From: n.net.Host("nats"), Target: net.JoinHostPort(n.net.Host("nats").IP, natsPort),
	})
	n.lines = append(n.lines, toPostgres, toNATS)
	return u.String(), "nats://" + toNATS.Addr
}

// depotFaults are those of what the replicas share.
func (n *night) depotFaults(broker *torture.Process) []torture.Fault {
	faults := []torture.Fault{torture.Kill(broker), torture.Pause(broker, time.Second, 8*time.Second), torture.Restart(broker), n.poisonBroker()}
	if n.disk != nil {
		faults = append(faults, n.fullBroker(broker))
	}
	if n.net.Breakable() {
		for _, f := range n.fleets {
			for _, depot := range []string{"postgres", "nats"} {
				faults = append(faults, n.net.Partition(f.Name, depot), n.net.OneWay(depot, f.Name), n.net.OneWay(f.Name, depot),
					n.net.Loss(f.Name, depot, 0.1))
			}
		}
	}
	return faults
}

// fullBroker fills the disk of the broker and frees it. A stream of nats-server
// that could not write once takes nothing until the server is started again,
// so an operator does that.
func (n *night) fullBroker(broker *torture.Process) torture.Fault {
	fault := torture.DiskFull(n.disk, broker)
	fault.Targets = append(fault.Targets, broker.Name)
	fill := fault.Inject
	fault.Inject = func(ctx context.Context, s *torture.Scene) (torture.Heal, error) {
		free, err := fill(ctx, s)
		return func(ctx context.Context) error {
			return errors.Join(free(ctx), broker.Kill(ctx), broker.AwaitReady(ctx))
		}, err
	}
	return fault
}

// poisonBroker publishes what nobody can decode, straight to the broker.
func (n *night) poisonBroker() torture.Fault {
	const kind = "argosy.shop.order.v1.OrderConfirmed"
	return torture.Fault{Name: "poison", Targets: []string{"poison"},
		Inject: func(ctx context.Context, s *torture.Scene) (torture.Heal, error) {
			id := fmt.Sprint("poison-", n.poison.Load()+1)
			err := n.publish(ctx, broker.Message{
				ID: id, Topic: kind, Body: []byte("\xff\xffnot a message"),
				Header: map[string]string{
					"ce-specversion": "1.0", "ce-id": id, "ce-source": "/nobody", "ce-type": kind, "ce-subject": id,
					"ce-time": time.Now().UTC().Format(time.RFC3339Nano), "content-type": "application/protobuf",
				},
			})
			if err != nil { // the broker suffers: it is tried again with the same id
				s.Note("not published: %v", err)
				return nil, nil
			}
			n.poison.Add(1)
			s.Note("%s to everyone who waits for confirmed orders", id)
			return nil, nil
		}}
}

// publish sends a message from the hub.
func (n *night) publish(ctx context.Context, m broker.Message) (err error) {
	line := torture.NewProxy(n.t, torture.ProxyConfig{
		Name: "poison", Addr: "127.0.0.1:0", From: n.net.Hub, Target: net.JoinHostPort(n.net.Host("nats").IP, natsPort),
	})
	b, err := nats.Opener{}.Open(ctx, broker.OpenOptions{URL: "nats://" + line.Addr, Name: "poison"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return errors.Join(b.Publish(ctx, []broker.Message{m})...)
}
