package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/term"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/shop/audit"
)

// Exit codes of shop audit; exitUsage is the fifth.
const (
	auditGreen    = 0
	auditRed      = 1
	auditFailed   = 3
	auditNotQuiet = 4
)

const aboutAudit = `shop audit compares the services' stores with the ledgers of the bank and the
carrier and with the journals of the load, whether the fleet runs or not.

Usage:
  shop audit [flags]

Examples:
  shop audit                               of the default data directory, now
  shop audit --wait 30s                    waits until all work has ended
  shop audit --store postgres://db/shop    of a fleet on Postgres
  shop audit --output json                 for programs

Exit codes: 0 everything holds, 1 something does not, 2 bad usage, 3 the audit
could not be made, 4 work has not ended in time.
`

type auditing struct {
	*command
	data, url, output *string
	wait              *time.Duration
}

func newAudit() auditing {
	c := newCommand("audit", aboutAudit)
	return auditing{
		command: c,
		data:    c.String("data", "", "data `directory` of the fleet (default: where the shop keeps it)"),
		url:     c.String("store", "", "`URL` of the fleet's store: sqlite: or postgres://… (default: $ARGOSY_STORE, or sqlite:)"),
		wait:    c.Duration("wait", 0, "how long to wait until the shop is quiet and agrees"),
		output:  c.String("output", "text", "`format` of the report: text or json"),
	}
}

func auditCommand(args []string) int {
	c := newAudit()
	if code, done := c.parse(args); done {
		return code
	}
	if *c.output != "text" && *c.output != "json" {
		return c.wrong("--output is %q and must be text or json", *c.output)
	}
	shop := audit.Shop{Dir: dataDir(*c.data), Store: cmp.Or(*c.url, os.Getenv("ARGOSY_STORE"))}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	report, err := audit.Wait(ctx, shop, *c.wait)
	if err != nil {
		fmt.Fprintf(os.Stderr, "shop audit: %v\n", err)
		return auditFailed
	}
	if err := show(os.Stdout, report, *c.output); err != nil {
		fmt.Fprintf(os.Stderr, "shop audit: %v\n", err)
		return auditFailed
	}
	switch {
	case !report.Quiet:
		return auditNotQuiet
	case !report.OK:
		return auditRed
	}
	return auditGreen
}

// dataDir returns the directory that was given, the variable's, or the default.
func dataDir(given string) string {
	if given != "" {
		return given
	}
	if dir := os.Getenv("ARGOSY_DATA"); dir != "" {
		return dir
	}
	return argosy.DataDir("shop", os.LookupEnv)
}

func show(w *os.File, r audit.Report, output string) error {
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return table(w, r, term.IsTerminal(int(w.Fd())) && os.Getenv("NO_COLOR") == "")
}

// table prints a line a check; colour is for terminals.
func table(w io.Writer, r audit.Report, colour bool) error {
	paint := func(code, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	for _, c := range r.Checks {
		mark := paint("32", "ok  ")
		switch {
		case !c.OK && r.Quiet:
			mark = paint("31;1", "FAIL")
		case !c.OK: // what is under way may make it hold
			mark = paint("33", "open")
		}
		if _, err := fmt.Fprintf(w, "%s  %s: %s\n", mark, c.Name, c.Detail); err != nil {
			return err
		}
	}
	last := paint("32;1", "everything holds")
	switch {
	case !r.Quiet:
		last = paint("33;1", "work has not ended: ") + r.Waiting
	case !r.OK:
		last = paint("31;1", "something does not hold")
	}
	_, err := fmt.Fprintf(w, "%s (%s)\n", last, time.Now().Format(time.TimeOnly))
	return err
}
