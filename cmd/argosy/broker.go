package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/embedded"
)

// newBroker returns argosy broker, which argosy up runs beside the services.
func newBroker(a *app) *cobra.Command {
	var listen, data string
	c := &cobra.Command{
		Use: "broker --data DIR [flags]", Short: "Run the embedded broker as a process of its own", Hidden: true,
		Long: `argosy broker runs the broker that programs embed as a process of its own, with
its files in the same place of the data directory, so that the processes of one
fleet share it. Who can connect may do everything: keep it on this machine.`,
		Example: `  argosy broker --data ./data --listen 127.0.0.1:4222`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usagef("the data directory is not given: say it by --data")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return serveBroker(ctx, a, data, listen)
		},
	}
	c.Flags().StringVar(&data, "data", "", "data `DIR` of the fleet")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:4222", "`ADDRESS` for the processes of the fleet")
	return c
}

// serveBroker runs the broker until ctx ends.
func serveBroker(ctx context.Context, a *app, data, listen string) error {
	log := slog.New(slog.NewTextHandler(a.errs, nil))
	b, err := embedded.Opener{Listen: listen}.Open(ctx, broker.OpenOptions{Dir: data, Name: "argosy broker", Log: log})
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if at, ok := b.(*embedded.Broker); ok {
		a.note("the broker listens on %s", at.URL())
	}
	<-ctx.Done()
	return b.Close()
}
