package argosy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/argosy-go/argosy/guard"
	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// guardRule is what an operator sets for calls: nil is what code and contract say.
type guardRule struct {
	Deadline       *time.Duration `min:"1ms" max:"24h" usage:"longest that a call may take, all attempts included (default: the contract's)"`
	Attempts       *int           `min:"1" max:"10" usage:"most attempts of one call, the first included; more than one only where the contract lets a call be repeated (default 3)"`
	AttemptTimeout *time.Duration `min:"1ms" max:"24h" usage:"longest that an attempt may take; less than the deadline (default: as long as the call)"`
	Bulkhead       *int           `min:"1" max:"1000000" usage:"most attempts and streams of a method that are under way (default 1000)"`
	MinLimit       *int           `min:"1" max:"1000000" usage:"how many of them there may be however overloaded the other side is (default 32)"`
	HedgeAfter     *time.Duration `min:"0s" max:"1h" usage:"pause after which a call is made once more beside the first, or the 95th percentile of what calls take, if that is longer; only of methods without side effects; 0s is never (default: never)"`
	RetryBudget    *float64       `min:"0.001" max:"1" usage:"retries and hedges for each call; not of a method, since those of a contract share it (default 0.1)"`
	Retry          struct {
		Pause    *time.Duration `min:"1ms" max:"1m" usage:"longest pause before the second attempt; it doubles from there (default 20ms)"`
		MaxPause *time.Duration `min:"1ms" max:"10m" usage:"longest pause between attempts (default 1s)"`
	}
	Breaker struct {
		Window       *time.Duration `min:"100ms" max:"10m" usage:"how far back calls count (default 10s)"`
		MinCalls     *int           `min:"1" max:"1000000" usage:"calls of the window that it takes to judge (default 20)"`
		FailureShare *float64       `min:"0.01" max:"2" usage:"share of failures at which it opens; above 1 it never does (default 0.5)"`
		Pause        *time.Duration `min:"1ms" max:"10m" usage:"how long it stays open at first; it doubles while probes fail (default 500ms)"`
		MaxPause     *time.Duration `min:"1ms" max:"1h" usage:"longest that it stays open (default 2s)"`
		Probes       *int           `min:"1" max:"1000" usage:"calls that must end well before it closes (default 3)"`
	}
}

// limitRule is what an operator sets for the calls that are served.
type limitRule struct {
	MaxInFlight *int           `min:"1" max:"1000000" usage:"most calls of a method that are worked on at once (default: --max-in-flight)"`
	MinLimit    *int           `min:"1" max:"1000000" usage:"how many there may be however long they take (default 32)"`
	Slack       *time.Duration `min:"1ms" max:"1h" usage:"how much longer than without load calls may take on average before the limit falls (default 50ms)"`
	Window      *time.Duration `min:"1ms" max:"1m" usage:"shortest time over which that is averaged (default 100ms)"`
}

// quotaRule is what an operator sets for callers of a kind.
type quotaRule struct {
	Rate  *float64 `min:"0" max:"1000000" usage:"calls a second of each caller; 0 is no quota (default: --quota)"`
	Burst *int     `min:"1" max:"1000000" usage:"calls at once after a rest (default: two seconds' worth)"`
}

// everyService is the name of a row that is of all services.
const everyService = "*"

// rules are the tables of the settings, held against the contracts of the program.
type rules struct {
	guard   map[string]guardRule
	limits  map[string]limitRule
	quotas  map[string]guard.RateConfig
	owners  map[string]string      // contract to service
	methods map[string]*rpc.Method // of the contracts, by full name
}

// rulesOf checks the tables: each row is of something that exists, and nothing
// in it is without effect or against the contract.
func rulesOf(set settings, every []*service.Setup) (*rules, error) {
	r := &rules{guard: set.Guard, limits: set.Limits, owners: owners(every), methods: map[string]*rpc.Method{}}
	for _, s := range every {
		all, err := contracts(s)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			maps.Copy(r.methods, rpc.Methods(c))
		}
	}
	var errs []error
	for _, row := range slices.Sorted(maps.Keys(r.guard)) {
		errs = append(errs, r.checkGuard(row))
	}
	for _, row := range slices.Sorted(maps.Keys(r.limits)) {
		errs = append(errs, r.checkLimit(row))
	}
	errs = append(errs, r.readQuotas(set, every))
	return r, errors.Join(errs...)
}

// of returns the methods that a row is of.
func (r *rules) of(row string) (methods []*rpc.Method, single bool, err error) {
	callee, name, single := strings.Cut(row, "/")
	known := callee == everyService && !single
	for _, m := range r.methods {
		contract := string(m.Desc.Parent().FullName())
		if callee != everyService && callee != contract && callee != r.owners[contract] {
			continue
		}
		known = true
		if !single || name == string(m.Desc.Name()) {
			methods = append(methods, m)
		}
	}
	slices.SortFunc(methods, func(a, b *rpc.Method) int { return cmp.Compare(a.FullName, b.FullName) })
	switch {
	case !known:
		names := slices.Compact(slices.Sorted(maps.Values(r.owners)))
		return nil, single, fmt.Errorf("no service and no contract %q is served in this program; there are: %s", callee, strings.Join(names, ", "))
	case single && len(methods) == 0:
		return nil, single, fmt.Errorf("%s has no method %q", callee, name)
	}
	return methods, single, nil
}

// rows returns the names of the rows that hold for a method, the one that wins last.
func (r *rules) rows(m *rpc.Method) [5]string {
	contract, name := string(m.Desc.Parent().FullName()), string(m.Desc.Name())
	owner := r.owners[contract]
	return [...]string{everyService, owner, contract, owner + "/" + name, contract + "/" + name}
}

func (r *rules) checkGuard(row string) error {
	methods, single, err := r.of(row)
	if err != nil {
		return fmt.Errorf("--guard, row %s: %w", row, err)
	}
	rule := r.guard[row]
	if single && rule.RetryBudget != nil {
		return fmt.Errorf("--guard, key %s.retry-budget: the methods of a contract share it: set it for %s", row, row[:strings.LastIndexByte(row, '/')])
	}
	var errs []error
	for _, k := range []struct {
		name   string
		set    bool
		refuse func(*rpc.Method) string
	}{
		{"attempts", rule.Attempts != nil && *rule.Attempts > 1, refuseRepeat},
		{"hedge-after", rule.HedgeAfter != nil && *rule.HedgeAfter > 0, refuseHedge},
		{"attempt-timeout", rule.AttemptTimeout != nil, refuseStream},
	} {
		if !k.set || len(methods) == 0 {
			continue
		}
		if why := k.refuse(methods[0]); why != "" && !slices.ContainsFunc(methods, func(m *rpc.Method) bool { return k.refuse(m) == "" }) {
			errs = append(errs, fmt.Errorf("--guard, key %s.%s: %s", row, k.name, why))
		}
	}
	for _, m := range methods {
		if err := r.contradiction(m, single || rule.Deadline != nil); err != nil {
			errs = append(errs, fmt.Errorf("--guard, row %s: %s: %w", row, m.FullName[1:], err))
			break // the others of the row have the same
		}
	}
	return errors.Join(errs...)
}

// The contract alone decides what may be sent twice: a setting cannot.
func refuseRepeat(m *rpc.Method) string {
	if m.Retryable {
		return ""
	}
	return fmt.Sprintf("%s may not be repeated: its contract declares neither idempotency_level nor (argosy.v1.idempotency), so a second attempt could have its effect twice; declare one of them, or leave attempts out", m.FullName[1:])
}

func refuseHedge(m *rpc.Method) string {
	switch {
	case !m.ReadOnly:
		return fmt.Sprintf("%s may not be hedged: its contract does not declare idempotency_level = NO_SIDE_EFFECTS, and two attempts would be under way at once", m.FullName[1:])
	case m.ClientStream || m.ServerStream:
		return m.FullName[1:] + " is a stream, and streams are not hedged"
	}
	return ""
}

func refuseStream(m *rpc.Method) string {
	if m.ClientStream || m.ServerStream {
		return m.FullName[1:] + " is a stream, and its attempts have no time of their own"
	}
	return ""
}

// contradiction says what in the rules of a method cannot be, all rows taken
// together. Whether an attempt's time is below a deadline of the contract
// matters where the row is about that one.
func (r *rules) contradiction(m *rpc.Method, deadlines bool) error {
	own := *m
	c := guard.Defaults()
	c.MinLimit = 1 // less than any bulkhead
	r.change(&own, &c)
	switch {
	case deadlines && own.Deadline > 0 && c.AttemptTimeout >= own.Deadline:
		return fmt.Errorf("attempt-timeout %s must be less than the deadline of the call, %s", c.AttemptTimeout, own.Deadline)
	case c.MinLimit > c.MaxInFlight:
		return fmt.Errorf("min-limit %d must be at most the bulkhead, %d", c.MinLimit, c.MaxInFlight)
	case c.FirstPause > c.MaxPause:
		return fmt.Errorf("retry.pause %s must be at most retry.max-pause, %s", c.FirstPause, c.MaxPause)
	case c.Breaker.Pause > c.Breaker.MaxPause:
		return fmt.Errorf("breaker.pause %s must be at most breaker.max-pause, %s", c.Breaker.Pause, c.Breaker.MaxPause)
	}
	return nil
}

// override returns what the rules say of the calls to a contract.
func (r *rules) override(contract string) rpc.Override {
	if len(r.guard) == 0 {
		return rpc.Override{}
	}
	o := rpc.Override{Method: r.change}
	for _, row := range []string{everyService, r.owners[contract], contract} {
		take(&o.RetryShare, r.guard[row].RetryBudget)
	}
	return o
}

// change applies the rules to the policies of a method.
func (r *rules) change(m *rpc.Method, c *guard.Config) {
	stream := m.ClientStream || m.ServerStream
	for _, row := range r.rows(m) {
		rule, ok := r.guard[row]
		if !ok {
			continue
		}
		if !stream || strings.Contains(row, "/") { // a stream may stay open: only a rule of its own ends it
			take(&m.Deadline, rule.Deadline)
		}
		if !stream {
			take(&c.AttemptTimeout, rule.AttemptTimeout)
			if rule.HedgeAfter != nil {
				c.Hedge.On, c.Hedge.MinDelay = *rule.HedgeAfter > 0, *rule.HedgeAfter
			}
		}
		take(&c.MaxAttempts, rule.Attempts)
		take(&c.MaxInFlight, rule.Bulkhead)
		take(&c.MinLimit, rule.MinLimit)
		take(&c.FirstPause, rule.Retry.Pause)
		take(&c.MaxPause, rule.Retry.MaxPause)
		take(&c.Breaker.Window, rule.Breaker.Window)
		take(&c.Breaker.MinCalls, rule.Breaker.MinCalls)
		take(&c.Breaker.Threshold, rule.Breaker.FailureShare)
		take(&c.Breaker.Pause, rule.Breaker.Pause)
		take(&c.Breaker.MaxPause, rule.Breaker.MaxPause)
		take(&c.Breaker.Probes, rule.Breaker.Probes)
	}
}

// take sets what a rule sets.
func take[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (r *rules) checkLimit(row string) error {
	methods, _, err := r.of(row)
	if err != nil {
		return fmt.Errorf("--limits, row %s: %w", row, err)
	}
	unary := slices.DeleteFunc(methods, func(m *rpc.Method) bool { return m.ClientStream || m.ServerStream })
	if len(unary) == 0 && row != everyService {
		return fmt.Errorf("--limits, row %s: streams have no limit of their own; --max-in-flight bounds them with all other calls", row)
	}
	for _, m := range unary {
		c := guard.ShedConfig{MaxLimit: 1_000_000, MinLimit: 1}
		r.shed(r.owners[string(m.Desc.Parent().FullName())], m, &c)
		if c.MinLimit > c.MaxLimit {
			return fmt.Errorf("--limits, row %s: %s: min-limit %d must be at most max-in-flight, %d", row, m.FullName[1:], c.MinLimit, c.MaxLimit)
		}
	}
	return nil
}

// shed applies the rules to the limit of a method that is served.
func (r *rules) shed(_ string, m *rpc.Method, c *guard.ShedConfig) {
	for _, row := range r.rows(m) {
		rule := r.limits[row]
		take(&c.MaxLimit, rule.MaxInFlight)
		take(&c.MinLimit, rule.MinLimit)
		take(&c.Slack, rule.Slack)
		take(&c.Window, rule.Window)
	}
}

// readQuotas reads the quotas of the kinds of callers.
func (r *rules) readQuotas(set settings, every []*service.Setup) error {
	kinds := []string{rpc.CallerUser, rpc.CallerAnonymous}
	for _, s := range every {
		kinds = append(kinds, rpc.CallerService(s.Name()))
	}
	var errs []error
	for _, row := range slices.Sorted(maps.Keys(set.Quotas)) {
		if !slices.Contains(kinds, row) {
			errs = append(errs, fmt.Errorf("--quotas, row %s: there is no such kind of caller; there are: %s", row, strings.Join(kinds, ", ")))
			continue
		}
		c := guard.RateConfig{PerSecond: set.Quota}
		take(&c.PerSecond, set.Quotas[row].Rate)
		take(&c.Burst, set.Quotas[row].Burst)
		if c.PerSecond == 0 && c.Burst > 0 {
			errs = append(errs, fmt.Errorf("--quotas, key %s.burst: without a rate there is no quota: set %[1]s.rate or --quota", row))
		}
		if r.quotas == nil {
			r.quotas = map[string]guard.RateConfig{}
		}
		r.quotas[row] = c
	}
	return errors.Join(errs...)
}
