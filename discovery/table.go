package discovery

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Table is a discovery in memory: a list that is known beforehand, or one that a
// test changes. It is a [Registrar] too; a registration in it needs no renewal,
// as it dies with the process. The zero value is an empty table.
type Table struct {
	mu      sync.Mutex
	places  map[string]map[string]int // service to address to how many registrations
	changed chan struct{}             // closed at each change; nil when nobody waits
}

// NewTable returns a table that has these addresses.
func NewTable(services map[string][]string) *Table {
	t := &Table{}
	for service, addrs := range services {
		t.Set(service, addrs...)
	}
	return t
}

// Set makes these the addresses of a service, and no others.
func (t *Table) Set(service string, addrs ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := map[string]int{}
	for _, a := range addrs {
		set[a] = 1
	}
	t.put(service, set)
}

// put stores a set and wakes who waits; the lock is held.
func (t *Table) put(service string, set map[string]int) {
	if t.places == nil {
		t.places = map[string]map[string]int{}
	}
	t.places[service] = set
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// look returns the set of a service, and what tells of the next change.
func (t *Table) look(service string) ([]string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return slices.Collect(maps.Keys(t.places[service])), t.changed
}

// Watch implements [Resolver].
func (t *Table) Watch(ctx context.Context, service string, _ <-chan struct{}, report func([]string, error)) {
	tell := Distinct(report)
	for ctx.Err() == nil {
		addrs, changed := t.look(service)
		tell(addrs, nil)
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// Register implements [Registrar].
func (t *Table) Register(_ context.Context, r Registration) (Lease, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	t.count(r, 1)
	return &entry{table: t, r: r}, nil
}

// count adds registrations of one address, or takes them away.
func (t *Table) count(r Registration, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := maps.Clone(t.places[r.Service])
	if set == nil {
		set = map[string]int{}
	}
	if set[r.Addr] += n; set[r.Addr] <= 0 {
		delete(set, r.Addr)
	}
	t.put(r.Service, set)
}

// Close implements [Discovery].
func (t *Table) Close() error { return nil }

// entry is a registration in a table.
type entry struct {
	table *Table
	r     Registration
	once  sync.Once
}

// Withdraw implements [Lease].
func (e *entry) Withdraw(context.Context) error {
	e.once.Do(func() { e.table.count(e.r, -1) })
	return nil
}
