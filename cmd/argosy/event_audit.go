package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// auditRecord is what an operator did to an event or a consumer.
type auditRecord struct {
	Service  string    `json:"service"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor"`
	Action   string    `json:"action"`
	Consumer string    `json:"consumer"`
	ID       string    `json:"id"`
	Key      string    `json:"key"`
	Type     string    `json:"type"`
	Reason   string    `json:"reason"`
}

// newEventAudit returns argosy event audit.
func newEventAudit(a *app) *cobra.Command {
	var limit uint
	c := &cobra.Command{
		Use: "audit", Short: "Show what operators did, and why",
		Long: `argosy event audit shows what operators did to dead letters and consumers, with
who it was and why; the latest last.`,
		Example: `  argosy event audit
  argosy event audit --service inventory --limit 10 --output json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			all, err := a.audit(cmd.Context())
			if err != nil {
				return err
			}
			if n := int(limit); n > 0 && len(all) > n {
				all = all[len(all)-n:]
			}
			return a.show(map[string]any{"records": all}, func() error { return a.auditTable(all) })
		},
	}
	c.Flags().UintVar(&limit, "limit", 100, "the last `N`; 0 is no limit")
	return c
}

// audit lists the records of the services that have events, in their order in
// time. They are read from the oldest on, which is how services give them.
func (a *app) audit(ctx context.Context) ([]auditRecord, error) {
	places, err := a.fleet(ctx, serviceInfo.hasEvents, "events")
	if err != nil {
		return nil, err
	}
	all := []auditRecord{}
	for _, p := range places {
		here, _, err := pages(0, func(query url.Values) ([]auditRecord, string, error) {
			var page struct {
				Records []auditRecord
				Next    string
			}
			if err := a.client.get(ctx, p.at, query, &page, "services", p.Name, "events", "audit"); err != nil {
				return nil, "", fmt.Errorf("records of %s: %w", p.Name, err)
			}
			for i := range page.Records {
				page.Records[i].Service = p.Name
			}
			return page.Records, page.Next, nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, here...)
	}
	slices.SortStableFunc(all, func(x, y auditRecord) int { return x.At.Compare(y.At) })
	return all, nil
}

func (a *app) auditTable(all []auditRecord) error {
	if len(all) == 0 {
		a.note("no operator did anything")
		return nil
	}
	var rows [][]cell
	for _, r := range all {
		rows = append(rows, []cell{
			text(a.screen.when(r.At)), text(r.Actor), text(r.Action), text(r.Service), text(r.Consumer), text(r.ID), text(r.Reason),
		})
	}
	return a.screen.table([]column{
		{"AT", true}, {"ACTOR", false}, {"ACTION", true}, {"SERVICE", true}, {"CONSUMER", false}, {"ID", true}, {"REASON", false},
	}, rows)
}
