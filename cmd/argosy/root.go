package main

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newRoot returns the command with all that are below it.
func newRoot(a *app) *cobra.Command {
	root := group("argosy", "Run a fleet, look into it and repair it", `argosy runs a program as a fleet of processes, and looks into the services of a
running fleet and repairs them, over the admin listener of the program (its
address is printed when it is ready).

Every setting is a flag, a variable or a key of the configuration file; the
first of the three that is set wins: --token-file is ARGOSY_ADMIN_TOKEN_FILE is
token-file in ~/.config/argosy/cli.yaml, --admin is ARGOSY_ADMIN_URL, --config
is ARGOSY_CLI_CONFIG, and --service, --output, --actor and --timeout are
ARGOSY_ and their name.

What it prints on a terminal is for people: cut to the width, with times from
now (NO_COLOR takes the colours). Into a pipe it prints whole values and RFC
3339 times; programs take --output json.

Exit codes:
  0  done
  1  failed
  2  usage: the command line is wrong, or --yes is missing
  3  not found
  4  refused: no or another token, or not from that machine
  5  unreachable: nobody answers at that address`, `  argosy up ./shop                       one process a service
  argosy event status                    what waits, and what was given up
  argosy event dead list                 the events that consumers gave up on
  argosy guards                          which breakers are open, and what is ejected
  argosy saga list --state parked        the sagas that wait for a person
  argosy saga retry order-17             go on with one of them`)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.DisableAutoGenTag = true
	root.SetOut(a.screen.out)
	root.SetErr(a.errs)
	root.SetIn(a.in)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			return usagef("--%s %q is no %s", bad.GetFlag().Name, bad.GetValue(), kindOf(bad.GetFlag()))
		}
		return usagef("%v%s", err, nearFlag(cmd, err))
	})
	addSettings(root.PersistentFlags())
	root.PersistentFlags().BoolP("help", "h", false, "help for the command")
	root.AddCommand(newEvent(a), newSaga(a), newGuards(a), newUp(a), newCheck(a), newBroker(a), newVersion(a))
	return root
}

// usageTemplate is what --help prints below the description.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

// group returns a command that only holds others.
func group(name, short, long, example string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Long: long, Example: example, SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			return usagef("there is no command %q of %s; there are: %s%s", args[0], cmd.CommandPath(), strings.Join(names, ", "), meant(args[0], names))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// meant returns a hint with the name that is nearest to the one given.
func meant(given string, names []string) string {
	best, at := "", 3
	for _, name := range names {
		if d := distance(given, name); d < at {
			best, at = name, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// kindOf names the values that a flag takes.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "duration as in 1h30m"
	case "bool":
		return "true or false"
	}
	return "whole number, 0 or more"
}

// nearFlag does it for a flag that does not exist.
func nearFlag(cmd *cobra.Command, err error) string {
	given, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if hint := meant(given, names); hint != "" {
		return strings.Replace(hint, "mean ", "mean --", 1)
	}
	return ""
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, cost)
		}
	}
	return row[len(b)]
}

// local reports whether a host is this machine.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
