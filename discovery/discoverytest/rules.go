package discoverytest

import (
	"github.com/argosy-go/argosy/discovery"
)

const (
	one   = "127.0.0.1:9091"
	two   = "127.0.0.2:9092"
	three = "127.0.0.3:9093"
)

func (s *suite) reports() {
	s.publish("order", one)
	w := s.watch("order")
	w.wants("rule 1: the set at the start", one)
	s.publish("order", one, two)
	w.wants("rule 1: an address that came", one, two)
	s.publish("order", two)
	w.wants("rule 1: an address that went", two)
}

func (s *suite) sorts() {
	s.publish("order", three, one, two)
	s.watch("order").wants("rule 2: sorted, each once", one, two, three)
}

func (s *suite) keepsQuiet() {
	s.publish("order", one)
	w := s.watch("order")
	w.wants("rule 1: the set at the start", one)
	s.publish("order", one)
	s.publish("basket", two) // a change that is none of this watch's
	other := s.watch("basket")
	other.wants("rule 1: the set at the start", two)
	s.publish("order", one, three)
	r := w.next("rule 1: an address that came")
	if len(r.addrs) == 1 && r.err == nil {
		s.t.Errorf("rule 1: the set %v was reported again though nothing changed", r.addrs)
	}
}

func (s *suite) empty() {
	w := s.watch("nobody")
	if r := w.next("rule 3: the empty set at the start"); r.err != nil || len(r.addrs) != 0 {
		s.t.Fatalf("rule 3: a service that nobody serves: %v %v, want the empty set", r.addrs, r.err)
	}
	s.publish("nobody", one)
	w.wants("rule 1: the first address", one)
	s.publish("nobody")
	w.wants("rule 3: the last address went")
}

func (s *suite) apart() {
	s.publish("order", one)
	s.publish("order-line", two)
	s.watch("order").wants("a name that begins another", one)
	s.watch("order-line").wants("a longer name", two)
}

func (s *suite) many() {
	s.publish("order", one)
	var all []*watch
	for range 8 {
		all = append(all, s.watch("order"))
	}
	for _, w := range all {
		w.wants("rule 6: one of many watches", one)
	}
	s.publish("order", two)
	for _, w := range all {
		w.wants("rule 6: one of many watches", two)
	}
}

func (s *suite) ends() {
	s.publish("order", one)
	w := s.watch("order")
	w.wants("rule 1: the set at the start", one)
	w.stop()
	<-w.done
	select {
	case r := <-w.reports:
		s.t.Errorf("rule 1: a report as the watch ended: %v %v", r.addrs, r.err)
	default:
	}
}

func (s *suite) fails() {
	if s.Break == nil {
		return
	}
	s.publish("order", one)
	w := s.watch("order")
	w.wants("rule 1: the set at the start", one)
	mend := s.Break(s.t)
	w.wantsError("rule 4: a source that fails")
	mend()
	w.wants("rule 4: the answer after an error", one)
}

func (s *suite) registers() {
	if !s.registrar() {
		return
	}
	w := s.watch("stock")
	w.wants("rule 3: nobody serves it")
	l := s.register("stock", one)
	w.wants("registrar's rule 1: a registration", one)
	s.register("stock", two)
	w.wants("registrar's rule 1: another", one, two)
	if err := l.Withdraw(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	w.wants("Withdraw takes the address out, and no other", two)
}

func (s *suite) withdraws() {
	if !s.registrar() {
		return
	}
	l := s.register("stock", one)
	for range 2 {
		if err := l.Withdraw(s.t.Context()); err != nil {
			s.t.Errorf("Withdraw is idempotent: %v", err)
		}
	}
	if r := s.watch("stock").next("rule 3: nobody serves it"); len(r.addrs) != 0 {
		s.t.Errorf("Withdraw left %v", r.addrs)
	}
}

func (s *suite) loses() {
	if !s.registrar() || s.Lose == nil {
		return
	}
	s.register("stock", one)
	w := s.watch("stock")
	w.wants("registrar's rule 1: a registration", one)
	s.Lose(s.t)
	w.wants("the source forgot it")
	w.wants("registrar's rule 2: made again", one)
}

func (s *suite) dies() {
	if s.Mortal == nil {
		return
	}
	r, die := s.Mortal(s.t)
	s.registerWith(r, "stock", one)
	s.register("stock", two)
	w := s.watch("stock")
	w.wants("registrar's rule 1: registrations of two processes", one, two)
	die()
	w.wants("registrar's rule 3: one process died, the other did not", two)
}

func (s *suite) refuses() {
	r, ok := s.Discovery.(discovery.Registrar)
	if !ok {
		return
	}
	for _, bad := range []discovery.Registration{
		{Addr: one}, {Service: "stock"}, {Service: "stock", Addr: "no port"}, {Service: "Not a name/..", Addr: one},
	} {
		if l, err := r.Register(s.t.Context(), bad); err == nil {
			s.t.Errorf("Register(%+v) succeeded", bad)
			_ = l.Withdraw(s.t.Context())
		}
	}
}
