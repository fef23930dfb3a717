package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.LookupEnv))
}

// run is main without the process: it returns the exit code. env looks up
// variables, as os.LookupEnv does. What is a terminal among in and out is
// found out from them.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer, env func(string) (string, bool)) int {
	a := newApp(in, out, errs, env)
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		a.explain(cmd, err)
	}
	return exitCode(err)
}
