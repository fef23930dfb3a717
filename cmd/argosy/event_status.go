package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// eventStatus is what a service has still to send and to receive.
type eventStatus struct {
	Service       string     `json:"service"`
	Outbox        int64      `json:"outbox"`
	OldestSeconds float64    `json:"oldestSeconds"`
	Pending       int64      `json:"pending"`
	DeadLetters   int64      `json:"deadLetters"`
	Consumers     []consumer `json:"consumers"`
}

// consumer is a subscription of a service.
type consumer struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Topic   string `json:"topic"`
	Holder  string `json:"holder"`
	// Holders are by partition, where replicas share it.
	Holders []string `json:"holders,omitempty"`
}

// newEventStatus returns argosy event status.
func newEventStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what waits, and what was given up",
		Long: `argosy event status shows for each service the events that wait to be sent
(OUTBOX, and the age of the oldest), those that wait to be handled (PENDING) and
those that were given up (DEAD), and its consumers with who holds them.`,
		Example: `  argosy event status
  argosy event status --service inventory --output json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.connect(cmd); err != nil {
				return err
			}
			all, err := a.eventStatus(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(map[string]any{"services": all}, func() error { return a.statusTables(all) })
		},
	}
}

func (a *app) eventStatus(ctx context.Context) ([]eventStatus, error) {
	places, err := a.fleet(ctx, serviceInfo.hasEvents, "events")
	if err != nil {
		return nil, err
	}
	all := []eventStatus{}
	for _, p := range places {
		s := eventStatus{Service: p.Name, Consumers: []consumer{}}
		if err := a.client.get(ctx, p.at, nil, &s, "services", p.Name, "events"); err != nil {
			return nil, fmt.Errorf("events of %s: %w", p.Name, err)
		}
		s.Service = p.Name
		all = append(all, s)
	}
	return all, nil
}

func (a *app) statusTables(all []eventStatus) error {
	var services, consumers [][]cell
	for _, s := range all {
		oldest, dead := "", text(fmt.Sprint(s.DeadLetters))
		if s.Outbox > 0 {
			oldest = (time.Duration(s.OldestSeconds * float64(time.Second))).Round(time.Millisecond).String()
		}
		if s.DeadLetters > 0 {
			dead.style = red
		}
		services = append(services, []cell{text(s.Service), text(fmt.Sprint(s.Outbox)), text(oldest), text(fmt.Sprint(s.Pending)), dead})
		for _, c := range s.Consumers {
			consumers = append(consumers, []cell{text(s.Service), text(c.Name), text(c.Topic), text(c.Holder)})
		}
	}
	err := a.screen.table([]column{{"SERVICE", true}, {"OUTBOX", true}, {"OLDEST", true}, {"PENDING", true}, {"DEAD", true}}, services)
	if err != nil || len(consumers) == 0 {
		return err
	}
	if _, err := fmt.Fprintln(a.screen.out); err != nil {
		return err
	}
	return a.screen.table([]column{{"SERVICE", true}, {"CONSUMER", false}, {"TOPIC", false}, {"HOLDER", false}}, consumers)
}
