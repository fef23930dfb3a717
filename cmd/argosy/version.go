package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy/internal/version"
)

// newVersion returns argosy version.
func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Long: `argosy version prints which build this is.`,
		Example: `  argosy version`,
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.screen.out, "argosy %s %s %s/%s\n", version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, and got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
