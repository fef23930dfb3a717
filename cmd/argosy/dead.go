package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// deadLetter is an event that a consumer gave up on.
type deadLetter struct {
	Service  string            `json:"service"`
	ID       string            `json:"id"`
	Consumer string            `json:"consumer"`
	Type     string            `json:"type"`
	Key      string            `json:"key"`
	Topic    string            `json:"topic"`
	Attempts int               `json:"attempts"`
	At       time.Time         `json:"at"`
	Code     string            `json:"code"`
	Reason   string            `json:"reason"`
	Message  string            `json:"message"`
	Headers  map[string]string `json:"headers,omitempty"`
	Body     json.RawMessage   `json:"body,omitempty"`
	Raw      string            `json:"raw,omitempty"`

	place place
}

// deadFilter selects dead letters.
type deadFilter struct {
	consumer, kind, key string
	limit               uint
}

// addDeadFilter adds the flags of a filter.
func addDeadFilter(c *cobra.Command) *deadFilter {
	f := &deadFilter{}
	c.Flags().StringVar(&f.consumer, "consumer", "", "only those of the consumer `NAME`")
	c.Flags().StringVar(&f.kind, "type", "", "only events of the type `NAME`")
	c.Flags().StringVar(&f.key, "key", "", "only events of the `KEY`")
	addLimit(c, &f.limit)
	return f
}

// addLimit adds --limit.
func addLimit(c *cobra.Command, limit *uint) {
	c.Flags().UintVar(limit, "limit", 100, "at most `N`; 0 is no limit")
}

// set reports whether the filter selects anything.
func (f *deadFilter) set() bool { return f.consumer != "" || f.kind != "" || f.key != "" }

// pageSize is how many things are asked for at once, the most that a service gives.
const pageSize = 1000

// pages asks for page after page until limit (0: none) or the end, and for one
// more than the limit, to know whether there is more.
func pages[T any](limit uint, ask func(query url.Values) (page []T, next string, err error)) (all []T, more bool, err error) {
	after := ""
	for {
		size := uint(pageSize)
		if limit > 0 {
			size = min(size, limit+1-uint(len(all)))
		}
		query := url.Values{"limit": {strconv.FormatUint(uint64(size), 10)}}
		setAll(query, "after", after)
		page, next, err := ask(query)
		if err != nil {
			return nil, false, err
		}
		all = append(all, page...)
		if limit > 0 && uint(len(all)) > limit {
			return all[:limit], true, nil
		}
		if next == "" || next == after {
			return all, false, nil
		}
		after = next
	}
}

// deadLetters lists the dead letters of the services that have events.
func (a *app) deadLetters(ctx context.Context, f *deadFilter) (all []deadLetter, more bool, err error) {
	places, err := a.fleet(ctx, serviceInfo.hasEvents, "events")
	if err != nil {
		return nil, false, err
	}
	all = []deadLetter{}
	for _, p := range places {
		here, left, err := a.lettersOf(ctx, p, f)
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

// lettersOf lists those of one service.
func (a *app) lettersOf(ctx context.Context, p place, f *deadFilter) ([]deadLetter, bool, error) {
	consumer, err := a.fullName(ctx, p, f.consumer)
	if err != nil {
		return nil, false, err
	}
	kind, err := p.fullType(f.kind)
	if err != nil {
		return nil, false, err
	}
	return pages(f.limit, func(query url.Values) ([]deadLetter, string, error) {
		setAll(query, "consumer", consumer, "type", kind, "key", f.key)
		var page struct {
			DeadLetters []deadLetter
			Next        string
		}
		if err := a.client.get(ctx, p.at, query, &page, "services", p.Name, "dead-letters"); err != nil {
			return nil, "", fmt.Errorf("dead letters of %s: %w", p.Name, err)
		}
		for i := range page.DeadLetters {
			page.DeadLetters[i].Service, page.DeadLetters[i].place = p.Name, p
		}
		return page.DeadLetters, page.Next, nil
	})
}

// setAll sets the parameters that have a value.
func setAll(query url.Values, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
}

// byEnd returns the name that is meant: one that is the given one, or the ones
// that end with it after a dot or a slash.
func byEnd(given string, names []string) []string {
	if slices.Contains(names, given) {
		return []string{given}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !strings.HasSuffix(name, "."+given) && !strings.HasSuffix(name, "/"+given)
	})
}

// consumers returns the names of a service's consumers.
func (a *app) consumers(ctx context.Context, p place) ([]string, error) {
	var s eventStatus
	if err := a.client.get(ctx, p.at, nil, &s, "services", p.Name, "events"); err != nil {
		return nil, fmt.Errorf("consumers of %s: %w", p.Name, err)
	}
	var names []string
	for _, c := range s.Consumers {
		names = append(names, c.Name)
	}
	return names, nil
}

// fullName returns the consumer of a service that a name means. One that is no
// longer there may have left dead letters: its name stays as it is.
func (a *app) fullName(ctx context.Context, p place, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	names, err := a.consumers(ctx, p)
	if err != nil {
		return "", err
	}
	return oneOf("consumers", p.Name, name, byEnd(name, names))
}

// fullType does it for the type of an event.
func (p place) fullType(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	var types []string
	for _, e := range slices.Concat(p.Consumes, p.Publishes) {
		if !slices.Contains(types, e.Message) {
			types = append(types, e.Message)
		}
	}
	return oneOf("types of events", p.Name, name, byEnd(name, types))
}

func oneOf(what, service, given string, fit []string) (string, error) {
	switch len(fit) {
	case 0:
		return given, nil
	case 1:
		return fit[0], nil
	}
	return "", usagef("%s has several %s that end with %s: %s; name one in full", service, what, given, strings.Join(fit, ", "))
}

// deadLetter finds the dead letter with an id, with all that is known of it, in
// the services that have events.
func (a *app) deadLetter(ctx context.Context, id, consumer string) (deadLetter, error) {
	places, err := a.fleet(ctx, serviceInfo.hasEvents, "events")
	if err != nil {
		return deadLetter{}, err
	}
	var found []deadLetter
	for _, p := range places {
		name, err := a.fullName(ctx, p, consumer)
		if err != nil {
			return deadLetter{}, err
		}
		query := url.Values{}
		setAll(query, "consumer", name)
		var d deadLetter
		err = a.client.get(ctx, p.at, query, &d, "services", p.Name, "dead-letters", id)
		if notFound(err) {
			continue
		}
		if err != nil {
			return d, fmt.Errorf("dead letter %s: %w", id, err)
		}
		d.Service, d.place = p.Name, p
		found = append(found, d)
	}
	switch len(found) {
	case 0:
		return deadLetter{}, notFoundf("there is no dead letter %s; argosy event dead list shows those that there are", id)
	case 1:
		return found[0], nil
	}
	var who []string
	for _, d := range found {
		who = append(who, d.Service)
	}
	return deadLetter{}, usagef("dead letter %s is one of several services: %s; name one by --service", id, strings.Join(who, ", "))
}

// letterTable prints dead letters.
func (a *app) letterTable(all []deadLetter) error {
	var rows [][]cell
	for _, d := range all {
		why := d.Message
		if !strings.Contains(why, d.Reason) {
			why = d.Reason + ": " + why
		}
		rows = append(rows, []cell{
			text(d.ID), text(d.Service), text(d.Consumer), text(d.Key), text(strconv.Itoa(d.Attempts)), text(a.screen.when(d.At)), {d.Code, red}, text(why),
		})
	}
	return a.screen.table([]column{
		{"ID", true}, {"SERVICE", true}, {"CONSUMER", false}, {"KEY", false}, {"ATTEMPTS", true}, {"AT", true}, {"CODE", false}, {"WHY", false},
	}, rows)
}
