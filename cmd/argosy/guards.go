package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/rpc"
)

// guarded is a program and how its guards and endpoints stand.
type guarded struct {
	Admin string `json:"admin"`
	argosy.Guards
	argosy.Connections
}

// newGuards returns argosy guards.
func newGuards(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "guards", Short: "Show breakers, limits and endpoints of all calls",
		Long: `argosy guards shows how the guards of the calls between services stand, those in
trouble first: for each method that is called its circuit breaker and why it
opened the last time, the attempts under way and the limit, and how many were
retried, refused, hedged and answered by a fallback; for each service elsewhere
its endpoints, as the discovery and the calls of this caller see them; and for
each method that is served the limit that it found, and what it shed.

Every program is asked for its own calls: name the admin listeners of all. With
--service it is about the calls from and to that service.`,
		Example: `  argosy guards
  argosy guards --service inventory
  argosy guards --admin http://10.0.0.2:9091,http://10.0.0.3:9091 --output json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			all, err := a.guarded(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(map[string]any{"programs": all}, func() error { return a.guardTables(all) })
		},
	}
}

// guarded asks all programs. What does not answer is told, as long as something
// else does.
func (a *app) guarded(ctx context.Context) ([]guarded, error) {
	all := []guarded{}
	var failures []error
	for _, at := range a.client.addresses {
		g, err := a.guardedAt(ctx, at)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		all = append(all, g)
	}
	if len(all) == 0 {
		return nil, failures[0]
	}
	for _, err := range failures {
		a.note("%s", message(err))
	}
	return all, nil
}

func (a *app) guardedAt(ctx context.Context, at *url.URL) (guarded, error) {
	g := guarded{Admin: at.String()}
	if err := a.client.get(ctx, at, nil, &g.Guards, "guards"); err != nil {
		return g, err
	}
	if err := a.client.get(ctx, at, nil, &g.Connections, "endpoints"); err != nil {
		return g, err
	}
	only := a.config.Service
	if only == "" {
		return g, nil
	}
	g.Clients = slices.DeleteFunc(g.Clients, func(c rpc.ClientState) bool { return c.Service != only && !calledBy(c, only) })
	g.Connections.Connections = slices.DeleteFunc(g.Connections.Connections, func(c rpc.EndpointsState) bool { return c.From != only && c.Target != only })
	g.Server.Methods = slices.DeleteFunc(g.Server.Methods, func(m rpc.MethodState) bool { return m.Service != only })
	return g, nil
}

// calledBy reports whether the calls are of a service.
func calledBy(c rpc.ClientState, service string) bool {
	return slices.ContainsFunc(c.Methods, func(m rpc.CallState) bool { return m.From == service })
}

// guardTables prints what is called, where, and what is served. Each row begins
// with the program that told it where there are several.
func (a *app) guardTables(all []guarded) error {
	var calls, endpoints, served ranked
	for _, g := range all {
		at := strings.TrimPrefix(strings.TrimPrefix(g.Admin, "http://"), "https://")
		for _, c := range g.Clients {
			for _, m := range c.Methods {
				calls.add(troubleOf(m), at, a.callRow(c, m))
			}
		}
		for _, c := range g.Connections.Connections {
			for _, e := range c.Endpoints {
				endpoints.add(e.State != rpc.EndpointReady, at, a.endpointRow(c, e))
			}
		}
		for _, m := range g.Server.Methods {
			served.add(len(m.Shed) > 0, at, servedRow(m))
		}
	}
	several := len(all) > 1
	printed := false
	for _, t := range []struct {
		columns []column
		rows    ranked
	}{
		{[]column{{"FROM", true}, {"METHOD", true}, {"BREAKER", true}, {"OPENED", false}, {"UNDER WAY", true}, {"BUDGET", true}, {"RETRIED", true}, {"REFUSED", true}, {"HEDGED", true}, {"FALLBACKS", true}}, calls},
		{[]column{{"FROM", true}, {"SERVICE", true}, {"ENDPOINT", true}, {"STATE", true}, {"SINCE", false}, {"UNDER WAY", true}, {"CALLS", true}}, endpoints},
		{[]column{{"SERVICE", true}, {"METHOD", true}, {"UNDER WAY", true}, {"SHED", true}}, served},
	} {
		if len(t.rows) == 0 {
			continue
		}
		if printed {
			if _, err := fmt.Fprintln(a.screen.out); err != nil {
				return err
			}
		}
		printed = true
		if err := t.rows.print(&a.screen, t.columns, several); err != nil {
			return err
		}
	}
	if !printed {
		return notFoundf("nothing is called and nothing is served at %s%s", a.config.Admin, ofService(a.config.Service))
	}
	return nil
}

func ofService(name string) string {
	if name == "" {
		return ""
	}
	return " by or of service " + name
}

// ranked are rows of a table, those of trouble to be printed first.
type ranked []struct {
	trouble bool
	at      string
	row     []cell
}

func (r *ranked) add(trouble bool, at string, row []cell) {
	*r = append(*r, struct {
		trouble bool
		at      string
		row     []cell
	}{trouble, at, row})
}

// print prints the rows as they came, after those of trouble.
func (r ranked) print(s *screen, columns []column, several bool) error {
	var rows [][]cell
	for _, trouble := range []bool{true, false} {
		for _, one := range r {
			if one.trouble != trouble {
				continue
			}
			if several {
				one.row = append([]cell{text(one.at)}, one.row...)
			}
			rows = append(rows, one.row)
		}
	}
	if several {
		columns = append([]column{{"AT", true}}, columns...)
	}
	return s.table(columns, rows)
}

// troubleOf reports whether something is, or was, refused or tried again.
func troubleOf(m rpc.CallState) bool {
	return m.Breaker.State != "closed" || refusals(m)+m.Retries+m.OverBudget+m.Fallbacks > 0
}

func refusals(m rpc.CallState) uint64 { return m.Breaker.Refused + m.BulkheadRefused + m.LimitRefused }

func (a *app) callRow(c rpc.ClientState, m rpc.CallState) []cell {
	breaker, opened := text(m.Breaker.State), ""
	switch m.Breaker.State {
	case "open":
		breaker.style = red
	case "half-open":
		breaker.style = yellow
	}
	if o := m.Breaker.Opened; o != nil {
		opened = fmt.Sprintf("%s: %d of %d failed, the last with %s", a.screen.when(o.At), o.Failures, o.Calls, cmp.Or(o.Reason, o.Code))
	}
	budget := text(fmt.Sprintf("%.0f", c.Budget))
	if c.Budget < 1 {
		budget.style = yellow
	}
	refused := text(count(refusals(m)))
	if refusals(m) > 0 {
		refused.style = red
	}
	return []cell{
		text(m.From), text(strings.TrimPrefix(m.Method, "/")), breaker, text(opened),
		text(fmt.Sprintf("%d/%d", m.InFlight, m.Limit)), budget, text(count(m.Retries)), refused, text(count(m.Hedges)), text(count(m.Fallbacks)),
	}
}

// count returns a number, and nothing for none.
func count(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func (a *app) endpointRow(c rpc.EndpointsState, e rpc.EndpointState) []cell {
	state, since := text(e.State), a.screen.when(e.Since)
	switch e.State {
	case rpc.EndpointReady:
		state.style = green
	case rpc.EndpointEjected:
		state.style, since = red, "back "+a.screen.when(e.EjectedUntil)
	case rpc.EndpointFailed:
		state.style = red
	}
	return []cell{text(c.From), text(c.Target), text(e.Address), state, text(since), text(fmt.Sprint(e.InFlight)), text(fmt.Sprint(e.Picks))}
}

func servedRow(m rpc.MethodState) []cell {
	shed := uint64(0)
	for _, n := range m.Shed {
		shed += n
	}
	refused := text(count(shed))
	if shed > 0 {
		refused.style = red
	}
	return []cell{text(m.Service), text(strings.TrimPrefix(m.Method, "/")), text(fmt.Sprintf("%d/%d", m.InFlight, m.Limit)), refused}
}
