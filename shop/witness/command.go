package witness

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Command runs a witness as a program until SIGTERM, and returns its exit
// status. run is called with the settings that all witnesses share; define,
// which may be nil, adds flags.
func Command(name string, args []string, stderr io.Writer, define func(*flag.FlagSet),
	run func(context.Context, Config) error) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	cfg := Config{Name: name, Log: slog.New(slog.NewTextHandler(stderr, nil))}
	flags.StringVar(&cfg.Dir, "dir", "", "`directory` of the ledger (required)")
	flags.StringVar(&cfg.Addr, "addr", "127.0.0.1:0", "`address` to listen on")
	flags.StringVar(&cfg.Webhook, "webhook", "", "`URL` to send webhooks to, unsigned until PUT /webhook brings a secret")
	flags.Uint64Var(&cfg.Seed, "seed", 0, "`seed` of delays and second deliveries; 0 is random")
	ignore := flags.Bool("ignore-interrupt", false, "leave an interrupt of the process group to the parent, which sends SIGTERM")
	if define != nil {
		define(flags)
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if cfg.Dir == "" || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "usage: %s --dir DIRECTORY [flags]\n", name)
		flags.PrintDefaults()
		return 2
	}
	signals := []os.Signal{syscall.SIGTERM}
	if *ignore {
		signal.Ignore(os.Interrupt)
	} else {
		signals = append(signals, os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	if err := run(ctx, cfg); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
