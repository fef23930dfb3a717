package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// deadChange is what replay and discard have in common.
type deadChange struct {
	verb, done  string // "replay", "replayed"
	destructive bool
	reason      string
	all         bool
	yes, dryRun bool
	filter      *deadFilter
}

// addTo adds its flags.
func (d *deadChange) addTo(c *cobra.Command) {
	d.filter = addDeadFilter(c)
	c.Flags().BoolVar(&d.all, "all", false, "all dead letters, where no filter is given")
	c.Flags().StringVar(&d.reason, "reason", "", "`TEXT` that the records keep")
	addYes(c, &d.yes, &d.dryRun)
}

// addYes adds the flags of what is asked about first.
func addYes(c *cobra.Command, yes, dryRun *bool) {
	c.Flags().BoolVar(yes, "yes", false, "do not ask")
	c.Flags().BoolVar(dryRun, "dry-run", false, "only show what it would be done to")
}

// run does it to the letters that are named or selected. What is selected is
// listed first and done by id, so that nothing is done to a letter that came
// after the question.
func (d *deadChange) run(a *app, cmd *cobra.Command, ids []string) error {
	if len(ids) == 0 && !d.filter.set() && !d.all {
		return usagef("name dead letters by their IDs, select them by --consumer, --type or --key, or say --all")
	}
	if len(ids) > 0 && (d.all || d.filter.kind != "" || d.filter.key != "") {
		return usagef("name dead letters by their IDs or select them, not both")
	}
	if d.destructive && strings.TrimSpace(d.reason) == "" {
		return usagef("say why by --reason: the records keep it")
	}
	if err := a.connect(cmd); err != nil {
		return err
	}
	letters, more, err := d.targets(cmd.Context(), a, ids)
	if err != nil {
		return err
	}
	if d.dryRun || len(letters) == 0 {
		return a.show(map[string]any{d.done: 0, "deadLetters": letters}, func() error {
			if len(letters) == 0 {
				a.note("no dead letter is selected")
				return nil
			}
			return a.letterTable(letters)
		})
	}
	if more {
		a.note("more are selected than --limit %d: the oldest are taken", d.filter.limit)
	}
	if d.destructive || len(ids) == 0 {
		question := "%s %s of %s?"
		if d.destructive {
			question += " It cannot be taken back."
		}
		if err := a.confirm(d.yes, question, d.verb, counted(len(letters), "dead letter"), strings.Join(servicesOf(letters), ", ")); err != nil {
			return err
		}
	}
	return d.change(cmd.Context(), a, letters)
}

// targets finds the letters.
func (d *deadChange) targets(ctx context.Context, a *app, ids []string) (letters []deadLetter, more bool, err error) {
	if len(ids) == 0 {
		return a.deadLetters(ctx, d.filter)
	}
	for _, id := range ids {
		l, err := a.deadLetter(ctx, id, d.filter.consumer)
		if err != nil {
			return nil, false, err
		}
		letters = append(letters, l)
	}
	return letters, false, nil
}

// chunk is how many letters one request is about: their names fit in its body.
const chunk = 100

type letterName struct {
	ID       string `json:"id"`
	Consumer string `json:"consumer"`
}

// change does it, service by service.
func (d *deadChange) change(ctx context.Context, a *app, letters []deadLetter) error {
	sum := map[string]int{}
	for len(letters) > 0 {
		at := letters[0].place
		var names []letterName
		var rest []deadLetter
		for _, l := range letters {
			if l.Service != at.Name || len(names) == chunk {
				rest = append(rest, l)
				continue
			}
			names = append(names, letterName{l.ID, l.Consumer})
		}
		letters = rest
		body := map[string]any{"ids": names}
		if d.reason != "" {
			body["reason"] = d.reason
		}
		var answer map[string]int
		if err := a.client.post(ctx, at.at, body, &answer, "services", at.Name, "dead-letters", d.verb); err != nil {
			return fmt.Errorf("%s, after %s of %s: %w", d.verb, counted(sum[at.Name], "dead letter"), at.Name, err)
		}
		sum[at.Name] += answer[d.done]
	}
	total := 0
	for _, n := range sum {
		total += n
	}
	return a.show(map[string]any{d.done: total}, func() error {
		_, err := fmt.Fprintf(a.screen.out, "%s %s\n", d.done, counted(total, "dead letter"))
		return err
	})
}

// servicesOf returns the services of letters, each once, in their order.
func servicesOf(letters []deadLetter) []string {
	var names []string
	for _, l := range letters {
		if len(names) == 0 || names[len(names)-1] != l.Service {
			names = append(names, l.Service)
		}
	}
	return names
}
