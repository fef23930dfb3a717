package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// measurement is one kind of work, done by several sides. The first is what the
// others are compared with.
type measurement struct {
	name   string
	work   string
	flight int
	sides  []string
}

// measurements are what is measured, in this order.
var measurements = []measurement{
	{"gRPC, unary, 1 in flight", "unary", 1, []string{"bare", "bare+headers", "argosy"}},
	{"gRPC, unary, 64 in flight", "unary", 64, []string{"bare", "bare+headers", "argosy", "kratos"}},
	{"gRPC, ping-pong on one stream", "stream", 1, []string{"bare", "argosy"}},
	{"gRPC over TLS, unary, 1 in flight", "unary", 1, []string{"bare, TLS", "argosy, TLS"}},
	{"gRPC over TLS, unary, 64 in flight", "unary", 64, []string{"bare, TLS", "argosy, TLS"}},
	{"REST, GET, 16 in flight", "get", 16, []string{"net/http, protojson", "net/http, encoding/json", "argosy"}},
	{"REST, POST, 16 in flight", "post", 16, []string{"net/http, protojson", "net/http, encoding/json", "argosy"}},
}

// result is one slice of one side.
type result struct {
	answer       // of the client
	server usage // of the server meanwhile
}

func (r result) perCall(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(r.Calls)
}

// lifetime is after how many rounds the processes are started anew: two that
// talk to each other may settle into a way of waking each other up, good or bad,
// that lasts for as long as they do. The first round of their lives is not counted.
const lifetime = 4

// run lets the sides take turns, and returns the results of each by round.
func (m measurement) run(ctx context.Context, o options) (map[string][]result, error) {
	results, pairs := map[string][]result{}, map[string]*pair{}
	defer func() { stopAll(pairs) }()
	for round := range o.rounds {
		young := round%lifetime == 0
		if young {
			stopAll(pairs)
			if err := m.startAll(ctx, o, pairs); err != nil {
				return nil, err
			}
		}
		turns := slices.Clone(m.sides)
		if round%2 == 1 { // nobody is always the one after a certain other
			slices.Reverse(turns)
		}
		for _, side := range turns {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			r, err := pairs[side].work(order{Work: m.work, Flight: m.flight, For: o.slice})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", side, err)
			}
			if !young || o.rounds == 1 {
				results[side] = append(results[side], r)
			}
		}
	}
	return results, nil
}

// startAll starts the processes of all sides.
func (m measurement) startAll(ctx context.Context, o options, pairs map[string]*pair) (err error) {
	for _, side := range m.sides {
		if pairs[side], err = startPair(ctx, o, side); err != nil {
			delete(pairs, side)
			return fmt.Errorf("%s: %w", side, err)
		}
	}
	return nil
}

func stopAll(pairs map[string]*pair) {
	for side, p := range pairs {
		p.stop()
		delete(pairs, side)
	}
}

func (p *pair) work(o order) (result, error) {
	before, err := p.server.ask(order{})
	if err != nil {
		return result{}, err
	}
	a, err := p.client.ask(o)
	if err != nil {
		return result{}, err
	}
	after, err := p.server.ask(order{})
	return result{a, after.Usage.since(before.Usage)}, err
}

// report prints the table of a measurement.
func report(out io.Writer, m measurement, results map[string][]result) {
	fmt.Fprintf(out, "\n%s\n", m.name)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "side\tcalls/s\tp50 µs\tp99 µs\tserver CPU µs\tratio\tallocs\tclient CPU µs\tratio\tallocs\t")
	first := results[m.sides[0]]
	for _, side := range m.sides {
		all := results[side]
		of := func(f func(result) float64) float64 { return medianOf(all, f) }
		against := func(f func(result) float64) float64 {
			ratios := make([]float64, len(all))
			for i := range all {
				ratios[i] = f(all[i]) / f(first[i])
			}
			return median(ratios)
		}
		server := func(r result) float64 { return r.perCall(r.server.CPU) }
		client := func(r result) float64 { return r.perCall(r.Usage.CPU) }
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t%.2f\t%.0f\t%.1f\t%.2f\t%.0f\t\n", side,
			of(func(r result) float64 { return float64(r.Calls) / r.Took.Seconds() }),
			of(func(r result) float64 { return float64(r.P50) / 1e3 }),
			of(func(r result) float64 { return float64(r.P99) / 1e3 }),
			of(server), against(server),
			of(func(r result) float64 { return float64(r.server.Allocs) / float64(r.Calls) }),
			of(client), against(client),
			of(func(r result) float64 { return float64(r.Usage.Allocs) / float64(r.Calls) }))
	}
	_ = w.Flush() // out is where errors would be told
}

func medianOf(all []result, f func(result) float64) float64 {
	values := make([]float64, len(all))
	for i, r := range all {
		values[i] = f(r)
	}
	return median(values)
}

// median returns the middle of the values, which it sorts; 0 of none.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return values[n/2]
	}
	return (values[n/2-1] + values[n/2]) / 2
}
