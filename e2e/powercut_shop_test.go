//go:build linux

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/powercut"
)

// darkShop is the shop, with its bank and its carrier, on one rig: a power cut
// takes all three. The customers' journal is elsewhere, as their memory is.
type darkShop struct {
	t         *testing.T
	bin       string
	env       []string
	rig       *powercut.Rig
	customers *customers
	dice      *rand.Rand
	rounds    int
}

func newDarkShop(t *testing.T, bin string, c powercut.Config, env ...string) *darkShop {
	t.Helper()
	elsewhere := t.TempDir()
	s := &darkShop{
		t: t, bin: bin, env: env, rig: newRig(t, c), customers: newCustomers(t, elsewhere),
		dice: rand.New(rand.NewPCG(c.Seed, 1)),
	}
	// The audit looks for the journal in the data directory.
	if err := os.Symlink(filepath.Join(elsewhere, "load"), filepath.Join(s.rig.Dir(), "load")); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(s.rig.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// cutAll cuts the power n times; orders that were not acknowledged are placed
// again after each. It audits every tenth time and in the end.
func (s *darkShop) cutAll(n int, sum *tally) {
	s.t.Helper()
	for range n {
		sum.add(s.cut())
		if s.rounds%10 == 0 || s.rounds == n {
			if err := s.check(); err != nil {
				s.t.Fatalf("cut %d: %v", s.rounds, err)
			}
		}
	}
	sum.acknowledged += s.customers.acked
}

// cut starts the shop, lets customers in and cuts the power at a random instant.
func (s *darkShop) cut() powercut.Loss {
	s.t.Helper()
	s.rounds++
	f := start(s.t, s.bin, s.rig.Dir(), s.env...)
	f.signIn("customer@shop.test")
	if s.customers.products == nil {
		s.customers.products = f.products()
	}
	stop := make(chan struct{})
	shopping := s.customers.shop(f, 16, stop)
	<-time.After(50*time.Millisecond + time.Duration(s.dice.IntN(1000))*time.Millisecond)
	loss := s.rig.Cut(func() { _ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL) }) // the group: bank and carrier too
	close(stop)
	shopping.Wait()
	<-f.exited
	if err := s.rig.Restore(); err != nil {
		s.t.Fatal(err)
	}
	return loss
}

// check starts the shop again, places what is owed and returns what the audit
// finds, once the shop is quiet.
func (s *darkShop) check() error {
	s.t.Helper()
	f := start(s.t, s.bin, s.rig.Dir(), s.env...)
	f.signIn("customer@shop.test")
	s.customers.settle(f)
	code, r := audit(s.t, s.bin, s.rig.Dir(), 30*time.Second)
	var err error
	if code != 0 {
		err = fmt.Errorf("shop audit exited %d:\n%s\n%s", code, r, f.out)
	}
	if stopped := f.stop(); stopped != nil && err == nil {
		err = fmt.Errorf("the shop did not end in peace: %w\n%s", stopped, f.out)
	}
	return err
}
