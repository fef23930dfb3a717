// Package discoverytest is what every adapter of discovery must pass. A test
// that fails names the rule of [discovery.Resolver] or [discovery.Registrar]
// that is broken.
//
//	func TestTheTableKeepsTheContract(t *testing.T) {
//		discoverytest.Run(t, func(t *testing.T) discoverytest.Kit {
//			table := discovery.NewTable(nil)
//			return discoverytest.Kit{Discovery: table, Publish: table.Set}
//		})
//	}
package discoverytest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/discovery"
)

// patience is how long the suite waits for what must come. It is only spent
// when a rule is broken.
const patience = 20 * time.Second

// Kit is what the suite needs of an adapter.
type Kit struct {
	// Discovery is what is tested. It is used by many at once, and is closed by
	// the suite. Required.
	Discovery discovery.Discovery
	// Publish makes the source say that the service is reached at exactly these
	// addresses. Nil: the suite registers and withdraws.
	Publish func(service string, addrs ...string)
	// Break makes the source fail until mend is called. Nil: it cannot fail.
	Break func(t *testing.T) (mend func())
	// Lose makes the source forget all registrations, as when it was away for
	// longer than they live. Nil: it does not forget.
	Lose func(t *testing.T)
	// Mortal returns another registrar of the same source, and what ends it
	// without a farewell, as a crash would. Nil: not tested.
	Mortal func(t *testing.T) (r discovery.Registrar, die func())
	// Hinted says that changes are found on a hint or when a TTL ends, not pushed.
	Hinted bool
}

// suite is one test's use of a kit.
type suite struct {
	Kit
	t      *testing.T
	leases map[string]discovery.Lease
}

// Run runs the suite; open is called for each test.
func Run(t *testing.T, open func(t *testing.T) Kit) {
	for name, test := range map[string]func(*suite){
		"a watch reports the set, and each change of it":       (*suite).reports,
		"a set is sorted and has each address once":            (*suite).sorts,
		"what did not change is not reported":                  (*suite).keepsQuiet,
		"a service that nobody serves has the empty set":       (*suite).empty,
		"services are kept apart":                              (*suite).apart,
		"many watches see the same":                            (*suite).many,
		"a watch ends with its context":                        (*suite).ends,
		"a source that fails is reported, and found again":     (*suite).fails,
		"a registration is seen, and its withdrawal":           (*suite).registers,
		"a withdrawal may be repeated":                         (*suite).withdraws,
		"a registration that the source lost is made again":    (*suite).loses,
		"a registration outlives its process for its TTL only": (*suite).dies,
		"an incomplete registration is refused":                (*suite).refuses,
	} {
		t.Run(name, func(t *testing.T) {
			k := open(t)
			s := &suite{Kit: k, t: t, leases: map[string]discovery.Lease{}}
			t.Cleanup(func() {
				if err := k.Discovery.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test(s)
		})
	}
}

// publish makes the source have exactly these addresses of a service.
func (s *suite) publish(service string, addrs ...string) {
	s.t.Helper()
	if s.Publish != nil {
		s.Publish(service, addrs...)
		return
	}
	for key, l := range s.leases {
		if name, addr, _ := strings.Cut(key, " "); name == service && !slices.Contains(addrs, addr) {
			delete(s.leases, key)
			if err := l.Withdraw(s.t.Context()); err != nil {
				s.t.Fatalf("Withdraw %s: %v", key, err)
			}
		}
	}
	for _, a := range addrs {
		if key := service + " " + a; s.leases[key] == nil {
			s.leases[key] = s.register(service, a)
		}
	}
}

func (s *suite) register(service, addr string) discovery.Lease {
	s.t.Helper()
	return s.registerWith(s.Discovery.(discovery.Registrar), service, addr)
}

func (s *suite) registerWith(r discovery.Registrar, service, addr string) discovery.Lease {
	s.t.Helper()
	l, err := r.Register(s.t.Context(), discovery.Registration{Service: service, Addr: addr, TTL: 2 * time.Second})
	if err != nil {
		s.t.Fatalf("Register %s %s: %v", service, addr, err)
	}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = l.Withdraw(ctx) // the test may have broken the source, or withdrawn before
	})
	return l
}

func (s *suite) registrar() bool {
	_, ok := s.Discovery.(discovery.Registrar)
	return ok
}

// watch is a watch under way.
type watch struct {
	t       *testing.T
	hinted  bool
	again   chan struct{}
	stop    context.CancelFunc
	done    chan struct{}
	reports chan report
	mu      sync.Mutex
	running bool
}

type report struct {
	addrs []string
	err   error
}

func (s *suite) watch(service string) *watch {
	ctx, cancel := context.WithCancel(s.t.Context())
	w := &watch{t: s.t, hinted: s.Hinted, again: make(chan struct{}, 1), stop: cancel, done: make(chan struct{}), reports: make(chan report, 100)}
	go func() {
		defer close(w.done)
		s.Discovery.Watch(ctx, service, w.again, w.report)
	}()
	s.t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return w
}

// report takes a report, and sees to it that they come one after the other.
func (w *watch) report(addrs []string, err error) {
	w.mu.Lock()
	if w.running {
		w.t.Error("rule 1: two reports of one watch at once")
	}
	w.running = true
	w.mu.Unlock()
	w.reports <- report{addrs, err}
	w.mu.Lock()
	w.running = false
	w.mu.Unlock()
}

// next returns the next report; hints are given meanwhile where they are needed.
func (w *watch) next(rule string) report {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		again := w.again
		if !w.hinted {
			again = nil
		}
		select {
		case r := <-w.reports:
			return r
		case again <- struct{}{}:
		case <-late.C:
			w.t.Fatalf("%s: no report", rule)
		}
	}
}

// wants waits until exactly these addresses are reported. Between them and what
// was before, a source may pass through sets that are neither.
func (w *watch) wants(rule string, addrs ...string) {
	w.t.Helper()
	for {
		r := w.next(rule)
		if r.err == nil && slices.Equal(r.addrs, addrs) {
			return
		}
		w.t.Logf("on the way to %v: %v %v", addrs, r.addrs, r.err)
	}
}

// wantsError waits for a report with an error.
func (w *watch) wantsError(rule string) {
	w.t.Helper()
	for {
		r := w.next(rule)
		if r.err == nil {
			continue
		}
		if len(r.addrs) != 0 {
			w.t.Errorf("rule 4: a report with an error has addresses: %v", r.addrs)
		}
		if errors.Is(r.err, context.Canceled) {
			w.t.Errorf("rule 1: the end of the watch is reported as an error: %v", r.err)
		}
		return
	}
}
