package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newEventReplay returns argosy event replay.
func newEventReplay(a *app) *cobra.Command {
	var from, reason string
	var yes, dryRun bool
	c := &cobra.Command{
		Use: "replay CONSUMER --from TIME", Short: "Give a consumer its events again from a time on",
		Long: `argosy event replay gives a consumer all events of its topic again, from a time
on, as far as the broker keeps them. Effects that were made are not made again.
The time is RFC 3339, or a duration before now. It asks first, unless --yes is
given.`,
		Example: `  argosy event replay inventory/argosy.shop.order.v1.OrderPlaced --from 2026-01-31T08:00:00Z
  argosy event replay OrderPlaced --service insight --from 36h --reason 'new column'`,
		Args: oneArg("the name of a consumer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			begin, err := parseFrom(from, a.screen.now())
			if err != nil {
				return err
			}
			if err := a.connect(cmd); err != nil {
				return err
			}
			p, name, err := a.consumer(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			stamp := begin.UTC().Format(time.RFC3339Nano)
			result := map[string]any{"service": p.Name, "consumer": name, "from": stamp, "dryRun": dryRun}
			if !dryRun {
				if err := a.confirm(yes, "replay all events of %s since %s?", name, stamp); err != nil {
					return err
				}
				body := map[string]string{"from": stamp, "reason": reason}
				var answer map[string]any
				if err := a.client.post(cmd.Context(), p.at, body, &answer, "services", p.Name, "consumers", name, "replay"); err != nil {
					return fmt.Errorf("replay %s: %w", name, err)
				}
			}
			return a.show(result, func() error {
				does := "replays"
				if dryRun {
					does = "would replay"
				}
				_, err := fmt.Fprintf(a.screen.out, "%s %s its events since %s\n", escape(name), does, stamp)
				return err
			})
		},
	}
	c.Flags().StringVar(&from, "from", "", "`TIME` to begin at: RFC 3339, or a duration before now")
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` that the records keep")
	addYes(c, &yes, &dryRun)
	return c
}

// parseFrom reads a time, or how long ago it is.
func parseFrom(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, usagef("say from when on by --from: a time as in 2026-01-31T08:00:00Z, or a duration before now as in 36h")
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return time.Time{}, usagef("--from %q is neither a time as in 2026-01-31T08:00:00Z nor a duration before now as in 36h", text)
	}
	return now.Add(-d), nil
}

// consumer finds the consumer that a name, or the end of one, means.
func (a *app) consumer(ctx context.Context, name string) (place, string, error) {
	places, err := a.fleet(ctx, serviceInfo.hasEvents, "events")
	if err != nil {
		return place{}, "", err
	}
	var at place
	var fit, known []string
	for _, p := range places {
		names, err := a.consumers(ctx, p)
		if err != nil {
			return place{}, "", err
		}
		known = append(known, names...)
		if here := byEnd(name, names); len(here) > 0 {
			at, fit = p, append(fit, here...)
		}
	}
	switch len(fit) {
	case 1:
		return at, fit[0], nil
	case 0:
		return place{}, "", notFoundf("there is no consumer %s; there are: %s%s", name, strings.Join(known, ", "), meant(name, known))
	}
	return place{}, "", usagef("several consumers end with %s: %s; name one in full", name, strings.Join(fit, ", "))
}
