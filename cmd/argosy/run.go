package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// sagaRun is a run of a saga.
type sagaRun struct {
	Service   string          `json:"service"`
	ID        string          `json:"id"`
	Saga      string          `json:"saga"`
	State     string          `json:"state"`
	Step      string          `json:"step"`
	Done      []string        `json:"done,omitempty"` // steps that succeeded
	Attempts  int             `json:"attempts"`
	Holder    string          `json:"holder"`
	Epoch     int64           `json:"epoch"`
	CreatedAt time.Time       `json:"createdAt"`
	UpdatedAt time.Time       `json:"updatedAt"`
	EndedAt   *time.Time      `json:"endedAt,omitempty"`
	NextAt    *time.Time      `json:"nextAt,omitempty"`
	Deadline  *time.Time      `json:"deadline,omitempty"`
	Cause     string          `json:"cause,omitempty"` // why it is compensated
	Error     string          `json:"error"`
	Data      json.RawMessage `json:"data,omitempty"`
	History   []sagaEvent     `json:"history,omitempty"`
	Dropped   int             `json:"dropped,omitempty"` // older entries that the history no longer has

	place place
}

// sagaEvent is an entry of a run's history.
type sagaEvent struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Step    string    `json:"step"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
	Actor   string    `json:"actor"`
	Reason  string    `json:"reason"`
}

// runFilter selects runs.
type runFilter struct {
	saga, state, key string
	olderThan        time.Duration
	limit            uint
}

// addRunFilter adds the flags of a filter.
func addRunFilter(c *cobra.Command) *runFilter {
	f := &runFilter{}
	c.Flags().StringVar(&f.saga, "saga", "", "only runs of the saga `NAME`")
	c.Flags().StringVar(&f.state, "state", "", "only runs in the state `NAME`")
	c.Flags().StringVar(&f.key, "key", "", "only the run with the ID `KEY`")
	c.Flags().DurationVar(&f.olderThan, "older-than", 0, "only runs that did not move for the `DURATION`")
	addLimit(c, &f.limit)
	return f
}

// set reports whether the filter selects anything.
func (f *runFilter) set() bool {
	return f.saga != "" || f.state != "" || f.key != "" || f.olderThan != 0
}

// runsSaga returns whether a service runs the saga; any, for an empty name.
func runsSaga(name string) func(serviceInfo) bool {
	return func(s serviceInfo) bool {
		for _, saga := range s.Sagas {
			if name == "" || saga == name {
				return true
			}
		}
		return false
	}
}

// sagaPlaces returns the services that run the saga, or any.
func (a *app) sagaPlaces(ctx context.Context, saga string) ([]place, error) {
	what := "sagas"
	if saga != "" {
		what = fmt.Sprintf("a saga %q", saga)
	}
	return a.fleet(ctx, runsSaga(saga), what)
}

// sagaRuns lists the runs that the filter selects.
func (a *app) sagaRuns(ctx context.Context, f *runFilter) (all []sagaRun, more bool, err error) {
	if f.olderThan < 0 {
		return nil, false, usagef("--older-than is %s, and must not be negative", f.olderThan)
	}
	places, err := a.sagaPlaces(ctx, f.saga)
	if err != nil {
		return nil, false, err
	}
	all = []sagaRun{}
	for _, p := range places {
		here, left, err := a.runsOf(ctx, p, f)
		if err != nil {
			return nil, false, err
		}
		all, more = append(all, here...), more || left
	}
	if n := int(f.limit); n > 0 && len(all) > n {
		return all[:n], true, nil
	}
	return all, more, nil
}

// runsOf lists those of one service.
func (a *app) runsOf(ctx context.Context, p place, f *runFilter) ([]sagaRun, bool, error) {
	return pages(f.limit, func(query url.Values) ([]sagaRun, string, error) {
		setAll(query, "saga", f.saga, "state", f.state, "key", f.key)
		if f.olderThan > 0 {
			query.Set("olderThan", f.olderThan.String())
		}
		var page struct {
			Runs []sagaRun
			Next string
		}
		if err := a.client.get(ctx, p.at, query, &page, "services", p.Name, "sagas"); err != nil {
			return nil, "", fmt.Errorf("sagas of %s: %w", p.Name, err)
		}
		for i := range page.Runs {
			page.Runs[i].Service, page.Runs[i].place = p.Name, p
		}
		return page.Runs, page.Next, nil
	})
}

// sagaRun finds the run with an id, with its data and history, among the sagas
// of the services.
func (a *app) sagaRun(ctx context.Context, saga, id string) (sagaRun, error) {
	places, err := a.sagaPlaces(ctx, saga)
	if err != nil {
		return sagaRun{}, err
	}
	var found []sagaRun
	for _, p := range places {
		names := p.Sagas
		if saga != "" { // also one that the program no longer has
			names = []string{saga}
		}
		for _, name := range names {
			var r sagaRun
			err := a.client.get(ctx, p.at, nil, &r, "services", p.Name, "sagas", name, "runs", id)
			if notFound(err) {
				continue
			}
			if err != nil {
				return r, fmt.Errorf("saga %s %s: %w", name, id, err)
			}
			r.Service, r.place = p.Name, p
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return sagaRun{}, notFoundf("there is no saga with the id %s; argosy saga list shows those that there are", id)
	case 1:
		return found[0], nil
	}
	var who []string
	for _, r := range found {
		who = append(who, r.Service+" "+r.Saga)
	}
	return sagaRun{}, usagef("the id %s is that of several sagas: %s; name one by --saga, its service by --service", id, strings.Join(who, ", "))
}

// styleOf returns how a state is shown.
func styleOf(state string) string {
	switch strings.ToLower(state) {
	case "parked", "failed":
		return red
	case "completed":
		return green
	case "compensated", "compensating", "cancelled":
		return yellow
	}
	return cyan
}

// runTable prints runs.
func (a *app) runTable(all []sagaRun) error {
	var rows [][]cell
	for _, r := range all {
		rows = append(rows, []cell{
			text(r.ID), text(r.Service), text(r.Saga), {r.State, styleOf(r.State)}, text(r.Step), text(strconv.Itoa(r.Attempts)),
			text(a.screen.when(r.UpdatedAt)), text(a.screen.ifSet(r.NextAt)), text(r.Error),
		})
	}
	return a.screen.table([]column{
		{"ID", true}, {"SERVICE", true}, {"SAGA", true}, {"STATE", true}, {"STEP", false}, {"ATTEMPTS", true}, {"UPDATED", true}, {"NEXT", true}, {"ERROR", false},
	}, rows)
}
