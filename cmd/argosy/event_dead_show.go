package main

import (
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"
)

// newDeadShow returns argosy event dead show.
func newDeadShow(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show a dead letter", Long: `argosy event dead show shows a dead letter with its error, its headers and what
was in it. Fields that the contract marks as sensitive are not shown.`,
		Example: `  argosy event dead show 0198c0de-0000-7000-8000-000000000001
  argosy event dead show 0198c0de-0000-7000-8000-000000000001 --output json`,
		Args: oneArg("the ID of a dead letter"),
	}
	consumer := c.Flags().String("consumer", "", "that of the consumer `NAME`, where several gave up on the event")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.connect(cmd); err != nil {
			return err
		}
		d, err := a.deadLetter(cmd.Context(), args[0], *consumer)
		if err != nil {
			return err
		}
		return a.show(d, func() error { return a.letterPage(d) })
	}
	return c
}

func (a *app) letterPage(d deadLetter) error {
	err := a.screen.fields([]field{
		{"id", text(d.ID)}, {"service", text(d.Service)}, {"consumer", text(d.Consumer)}, {"type", text(d.Type)},
		{"key", text(d.Key)}, {"topic", text(d.Topic)}, {"attempts", text(strconv.Itoa(d.Attempts))}, {"at", text(a.screen.when(d.At))},
		{"code", cell{d.Code, red}}, {"reason", text(d.Reason)}, {"message", text(d.Message)}, {"raw", text(d.Raw)},
	})
	if err != nil {
		return err
	}
	if len(d.Headers) > 0 {
		headers, err := json.Marshal(d.Headers)
		if err != nil {
			return err
		}
		if err := a.block("headers", headers); err != nil {
			return err
		}
	}
	return a.block("body", d.Body)
}

// oneArg asks for exactly one argument.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("%s takes one argument, %s, and got %d", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}
