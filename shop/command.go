package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// exitUsage is the exit code of every command that was asked for wrongly.
const exitUsage = 2

// command is what a subcommand is asked for: flags, and a help that says what
// they do.
type command struct {
	*flag.FlagSet
	about string // of the help: everything but the flags
}

func newCommand(name, about string) *command {
	c := &command{flag.NewFlagSet("shop "+name, flag.ContinueOnError), about}
	c.SetOutput(io.Discard) // parse prints, with the flags as people write them
	return c
}

// parse reads the arguments. done says that nothing is left to do but to exit
// with the code: the help was asked for, or the arguments are wrong.
func (c *command) parse(args []string) (code int, done bool) {
	err := c.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		if err := c.help(os.Stdout); err != nil {
			return 1, true
		}
		return 0, true
	case err != nil:
		return c.wrong("%s", strings.Replace(err.Error(), ": -", ": --", 1)), true
	case c.NArg() > 0:
		return c.wrong("unexpected argument %q", c.Arg(0)), true
	}
	return 0, false
}

// wrong says what is wrong with the arguments and returns the exit code.
func (c *command) wrong(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "%s: %s; %[1]s --help lists the flags\n", c.Name(), fmt.Sprintf(format, args...))
	return exitUsage
}

func (c *command) help(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s\nFlags:\n", c.about); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	c.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "0" && f.DefValue != "0s" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(t, "  --%s %s\t%s\n", f.Name, value, usage)
	})
	return t.Flush()
}
