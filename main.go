package argosy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/internal/version"
)

// Main runs the services as one process until SIGINT or SIGTERM, drains, and
// exits: 0 after a clean drain, 1 when something failed, 2 for a bad setting.
// A second signal stops at once. It reads flags, the environment and a
// configuration file; --help lists every setting.
func Main(engines engine.Set, services ...Service) {
	os.Exit(Run(context.Background(), Program{
		Name: filepath.Base(os.Args[0]), Engines: engines, Services: services,
		Args: os.Args[1:], Env: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr,
	}))
}

// Run is Main without the process: it returns the exit code. The fleet drains
// when ctx ends or a signal comes.
func Run(ctx context.Context, p Program) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer paceCollector(p.Env)()
	f, err := Start(ctx, p)
	var usage *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errDescribed):
		return 0
	case errors.Is(err, errVersion):
		fmt.Fprintln(p.stdout(), p.Name, version.String())
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(p.stderr(), "%s: %v\n", p.Name, err)
		return 2
	case err != nil && ctx.Err() != nil:
		fmt.Fprintf(p.stderr(), "%s: stopped before it was ready\n", p.Name)
		return 1
	case err != nil:
		fmt.Fprintf(p.stderr(), "%s: %v\n", p.Name, err)
		return 1
	}
	select {
	case <-ctx.Done():
	case <-f.Failed():
	}
	stop() // from here on a second signal ends the process at once
	f.say("%s drains; a second signal stops it at once\n", p.Name)
	drain, cancel := context.WithTimeout(context.Background(), f.set.DrainTimeout)
	defer cancel()
	if err := f.Stop(drain); err != nil {
		fmt.Fprintf(p.stderr(), "%s: drain: %v\n", p.Name, err)
		return 1
	}
	f.say("%s drained and stopped\n", p.Name)
	return 0
}
