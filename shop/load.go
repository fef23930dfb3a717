package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/argosy-go/argosy/shop/baskets"
	"github.com/argosy-go/argosy/shop/load"
)

const aboutLoad = `shop load sends orders as customers do: open loop, with double clicks, retries
under the same key, abandonment and cancellations. Each acknowledged order is
fsynced in a journal that shop audit reads.

Usage:
  shop load [flags]

Examples:
  shop load --rate 50 --duration 1m
  shop load --baskets supermarket.arff && shop audit --wait 30s

Exit codes: 0 every customer was served, 1 some gave up, 2 bad usage, 3 the
load could not be made.
`

type loading struct {
	*command
	url, data, baskets, output *string
	rate                       *float64
	duration                   *time.Duration
	seed                       *uint64
}

func newLoad() loading {
	c := newCommand("load", aboutLoad)
	return loading{
		command:  c,
		url:      c.String("url", "http://127.0.0.1:8080", "`URL` of the shop's HTTP edge, or several, separated by commas"),
		data:     c.String("data", "", "data `directory` of the fleet, for the journal and the password (default: where the shop keeps it)"),
		rate:     c.Float64("rate", 10, "`customers` a second, on average"),
		duration: c.Duration("duration", 10*time.Second, "how long they arrive"),
		baskets:  c.String("baskets", "", "`file` of real baskets: supermarket.arff of the package weka (default: a synthetic set)"),
		seed:     c.Uint64("seed", 0, "`number` that makes arrivals and whims the same in every run; 0 is another in each"),
		output:   c.String("output", "text", "`format` of the result: text or json"),
	}
}

func loadCommand(args []string) int {
	c := newLoad()
	if code, done := c.parse(args); done {
		return code
	}
	if *c.output != "text" && *c.output != "json" {
		return c.wrong("--output is %q and must be text or json", *c.output)
	}
	if *c.seed == 0 {
		*c.seed = uint64(time.Now().UnixNano())
	}
	cfg := load.Config{URL: *c.url, Email: "customer@shop.test", Rate: *c.rate, Duration: *c.duration, Seed: *c.seed}
	result, err := makeLoad(cfg, dataDir(*c.data), *c.baskets, *c.output == "text")
	if err != nil {
		fmt.Fprintf(os.Stderr, "shop load: %v\n", err)
		return 3
	}
	if *c.output == "json" {
		_ = json.NewEncoder(os.Stdout).Encode(result) // a closed pipe has no reader to tell
	} else {
		summary(result)
	}
	if result.Failed > 0 {
		return 1
	}
	return 0
}

// makeLoad finds the password, opens the journal's directory and runs the load.
func makeLoad(c load.Config, dir, basketFile string, progress bool) (load.Result, error) {
	c.Password = os.Getenv("ARGOSY_SHOP_DEV_PASSWORD")
	if c.Password == "" {
		b, err := os.ReadFile(filepath.Join(dir, "dev-password"))
		if err != nil {
			return load.Result{}, fmt.Errorf("password of the development users: %w (start the shop first, or set ARGOSY_SHOP_DEV_PASSWORD)", err)
		}
		c.Password = strings.TrimSpace(string(b))
	}
	if basketFile != "" {
		var err error
		if c.Baskets, err = baskets.Load(basketFile); err != nil {
			return load.Result{}, err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "load"), 0o700); err != nil {
		return load.Result{}, err
	}
	c.Journal = filepath.Join(dir, "load", time.Now().UTC().Format("20060102-150405.000000")+".jsonl")
	if progress {
		c.Progress = func(r load.Result) {
			fmt.Fprintf(os.Stderr, "%4.0f s  %d arrived, %d acknowledged, p50 %.1f ms, p99 %.1f ms, %d gave up\n", r.Elapsed, r.Offered, r.Acknowledged, r.P50, r.P99, r.Failed)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return load.Run(ctx, c)
}

func summary(r load.Result) {
	fmt.Printf("baskets       %s\n", r.Source)
	fmt.Printf("arrived       %d in %.1f s (%d abandoned, %d turned away by the generator)\n", r.Offered, r.Elapsed, r.Abandoned, r.TurnedAway)
	fmt.Printf("acknowledged  %d orders, each fsynced in the journal; p50 %.1f ms, p99 %.1f ms, max %.1f ms\n", r.Acknowledged, r.P50, r.P99, r.Max)
	fmt.Printf("cancelled     %d\nretries       %d\ngave up       %d\n", r.Cancelled, r.Retries, r.Failed)
	var errs []string
	for e := range r.Errors {
		errs = append(errs, e)
	}
	slices.Sort(errs)
	for _, e := range errs {
		fmt.Printf("  %-30s %d\n", e, r.Errors[e])
	}
}
