//go:build linux

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/torture"
	"github.com/argosy-go/argosy/store/sqlite"
)

// The short night is for every run of the tests. A long one, with a fault
// every two seconds and its report:
//
//	ARGOSY_TORTURE=10m ARGOSY_TORTURE_REPORT=/tmp go test -timeout 30m -run 'TestABadNight' ./e2e
//
// ARGOSY_TORTURE_SEED runs the schedule of a seed again, and
// ARGOSY_TORTURE_ONLY only the faults whose names match an expression.
const shortNight = 10 * time.Second

func TestABadNightOnSQLite(t *testing.T) {
	n := newNight(t, 1)
	length, every := nightLength(t)
	seed := nightSeed(t, rand.Uint64())
	shop := n.fleet(0, "--data", n.dir)
	torture.Run(t, torture.Plan{
		Seed: seed, Length: length, Every: every, Patience: patience,
		Processes: []*torture.Process{shop, n.bank, n.carrier},
		Faults:    chosen(t, append(n.faults(length), n.sqliteFaults(shop)...)),
		Load:      n.load(nightRate, length, seed), Probe: n.probe, Quiet: n.quiet, Invariant: n.green,
		Report: reportFile(t),
	})
}

// nightRate is how many customers come in a second.
const nightRate = 15

// faults are those of every layout: of processes, lines and links.
func (n *night) faults(length time.Duration) []torture.Fault {
	least, most := 16*time.Second, 20*time.Second // past a lease of 15 s
	if length <= shortNight {
		least, most = shortLease, shortLease+time.Second
	}
	faults := []torture.Fault{
		torture.Kill(n.bank), torture.Kill(n.carrier), torture.Pause(n.bank, time.Second, 8*time.Second),
		n.idlers(), torture.Restart(n.fleets...),
	}
	for _, f := range n.fleets {
		faults = append(faults, torture.Kill(f), torture.Pause(f, least, most))
	}
	for _, l := range n.lines {
		faults = append(faults, l.Cut(), l.Delay(300*time.Millisecond), l.Silence(), l.Throttle(2000))
	}
	if n.net.Breakable() {
		for _, f := range n.fleets { // the webhooks go to the first, and are late at worst
			faults = append(faults, n.net.Partition(f.Name, "bank"), n.net.OneWay("bank", f.Name), n.net.OneWay(f.Name, "carrier"),
				n.net.Loss(f.Name, "carrier", 0.2))
		}
	}
	return faults
}

// sqliteFaults are those of stores in files.
func (n *night) sqliteFaults(shop *torture.Process) []torture.Fault {
	faults := []torture.Fault{
		n.second("--data", n.dir),
		torture.HoldSQLite(sqlite.Path(n.dir, "order")), torture.HoldSQLite(sqlite.Path(n.dir, "payment")),
		n.poisonOutbox(shop),
	}
	if n.disk != nil {
		faults = append(faults, torture.DiskFull(n.disk, shop))
	}
	return faults
}

// poisonOutbox has the order service publish what nobody can decode.
func (n *night) poisonOutbox(shop *torture.Process) torture.Fault {
	program := filepath.Join(binaries, "poison")
	if out, err := exec.Command("go", "build", "-o", program, "./poison").CombinedOutput(); err != nil {
		n.t.Fatalf("build poison: %v\n%s", err, out)
	}
	return torture.Fault{Name: "poison", Targets: []string{"poison"},
		Inject: func(ctx context.Context, s *torture.Scene) (torture.Heal, error) {
			id := fmt.Sprint("poison-", n.poison.Load()+1)
			out, err := exec.CommandContext(ctx, program, sqlite.Path(n.dir, "order"), "argosy.shop.order.v1.OrderConfirmed", id).CombinedOutput()
			if err != nil { // the disk may be full: nothing was published
				s.Note("not published: %s", out)
				return nil, nil
			}
			n.poison.Add(1)
			s.Note("%s to everyone who waits for confirmed orders", id)
			return nil, nil
		}}
}
