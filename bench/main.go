package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// options are what a run can be told.
type options struct {
	rounds  int
	slice   time.Duration
	only    string
	profile string

	role, side, dir, target string // of a process that the run started
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 16, "rounds; one in four is not counted, since its processes have just begun")
	flag.DurationVar(&o.slice, "slice", 250*time.Millisecond, "how long a pair works at a time")
	flag.StringVar(&o.only, "only", "", "only measurements whose name contains this, as in \"unary, 64\"")
	flag.StringVar(&o.profile, "profile", "", "directory that receives profiles of all processes")
	flag.StringVar(&o.role, "role", "", "used by the program itself: serve or load")
	flag.StringVar(&o.side, "side", "", "used by the program itself")
	flag.StringVar(&o.dir, "dir", "", "used by the program itself")
	flag.StringVar(&o.target, "target", "", "used by the program itself")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	if o.role == "" {
		return measure(ctx, o, out)
	}
	s, ok := sides[o.side]
	if !ok {
		return fmt.Errorf("no side %q", o.side)
	}
	switch o.role {
	case "serve":
		return s.serve(ctx, o, in, out)
	case "load":
		return s.load(ctx, o, in, out)
	}
	return fmt.Errorf("no role %q", o.role)
}

// measure runs all measurements, and prints a table for each.
func measure(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "argosy-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir
	if err := certify(dir); err != nil {
		return err
	}
	for _, m := range measurements {
		if !strings.Contains(m.name, o.only) {
			continue
		}
		results, err := m.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		report(out, m, results)
	}
	return nil
}
