package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	check := flag.Bool("check", false, "write nothing; list what differs and fail if anything does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *check)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// errStale is what a check ends with when the tree is not what the contracts say.
var errStale = errors.New("generated code is not up to date: run make generate")

func run(ctx context.Context, check bool) error {
	root, err := repository()
	if err != nil {
		return err
	}
	want, err := generate(ctx, root)
	if err != nil {
		return err
	}
	changes, err := compare(root, want)
	if err != nil {
		return err
	}
	for _, c := range changes {
		fmt.Println(c)
		if check {
			continue
		}
		if err := c.apply(root); err != nil {
			return err
		}
	}
	if check && len(changes) > 0 {
		return errStale
	}
	return nil
}

// generate returns every generated file of the repository at root, by its
// slash-separated path. It writes nothing.
func generate(ctx context.Context, root string) (map[string][]byte, error) {
	sources, err := findSources(root)
	if err != nil {
		return nil, err
	}
	set, err := compile(ctx, sources)
	if err != nil {
		return nil, err
	}
	out, err := runPlugins(ctx, root, sources, set)
	if err != nil {
		return nil, err
	}
	if err := addDocuments(out, sources, set); err != nil {
		return nil, err
	}
	return out, nil
}
