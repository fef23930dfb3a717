package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/internal/setting"
)

// upFlags are what argosy up is told.
type upFlags struct {
	replicas, only, peers string
	oneProcess, status    bool
	broker, store         string
	data, http            string
	grace                 time.Duration
}

// newUp returns argosy up.
func newUp(a *app) *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use: "up [PACKAGE|PROGRAM] [flags] [-- SETTING...]", Short: "Run a program as one process a service",
		Long: `argosy up builds a program of Argosy once, asks it for its services, and runs
each as a process of its own: on this machine, with what they need of each other
and one broker beside them. The argument is a package, or a program that is built
already. Settings of the program come after --.

One process is the edge: the service that only has pages, or else the first. It
serves the routes of all services at --http; replicas of it have addresses of
their own, for a load balancer. What dies is started again, after
pauses that grow with each death in a row. Ctrl-C drains: first the edge, then
callers before those they call, the broker last; a second one kills.

On a terminal it shows the lines of all processes and a table of them; into a
pipe, plain lines. --output json gives one JSON value a line.

Exit codes: 0 after a clean drain, 1 when something failed or a second signal
killed it, 2 for what cannot be run, before anything is started.`,
		Example: `  argosy up ./shop
  argosy up ./shop --replicas order=3,payment=2 --store postgres://localhost/shop
  argosy up ./shop --only order,inventory,catalog --peers payment=10.0.0.2:9090,shipping=10.0.0.3:9090 -- --insecure
  argosy up ./shop --broker nats://10.0.0.5:4222 -- --order.max-lines 20
  argosy up ./shop --one-process
  argosy up --status ./shop`,
		Args: func(cmd *cobra.Command, args []string) error {
			before := cmd.ArgsLenAtDash()
			if before < 0 {
				before = len(args)
			}
			if before > 1 {
				return usagef("%s takes one package or program, and got %q; settings of the program come after --", cmd.CommandPath(), args[:before])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(a, cmd, args) },
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.replicas, "replicas", "", "`N` processes of a service, as order=3,payment=2 (default one each)")
	flags.StringVar(&f.only, "only", "", "`SERVICES` to run, separated by commas (default all)")
	flags.StringVar(&f.peers, "peers", "", "`ADDRESSES` of services that run elsewhere, as service=host:port,…")
	flags.BoolVar(&f.oneProcess, "one-process", false, "run all services in one process")
	flags.StringVar(&f.broker, "broker", "", "`URL` of a broker that runs already, as nats://host:4222\n(default one that is started, with its files in the data directory)")
	flags.StringVar(&f.store, "store", "", "`URL` of the store, as postgres://… (default the program's:\nfiles of SQLite, for one process a service)")
	flags.StringVar(&f.data, "data", "", "data `DIR` of the fleet (default the program's)")
	flags.StringVar(&f.http, "http", ":8080", "`ADDRESS` of the HTTP edge; port 0 takes a free one")
	flags.DurationVar(&f.grace, "grace", 20*time.Second, "`DURATION` that a process may take to end before it is killed")
	flags.BoolVar(&f.status, "status", false, "show the fleet that runs in the data directory, and exit")
	return c
}

func (f *upFlags) run(a *app, cmd *cobra.Command, args []string) error {
	var err error
	if a.config, err = readConfig(cmd, a.env); err != nil {
		return err
	}
	target, settings := ".", args
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		args, settings = args[:at], args[at:]
	} else {
		settings = nil
	}
	if len(args) > 0 {
		target = args[0]
	}
	if f.status && f.data != "" {
		return a.showFleet(f.data)
	}
	wanted, err := f.wishes(settings)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "argosy-up-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	p, err := f.prepare(ctx, target, dir, settings)
	stop()
	if err != nil {
		return err
	}
	if f.status {
		return a.showFleet(p.about.Data)
	}
	return f.up(cmd.Context(), a, p, wanted)
}

// showFleet prints the fleet that runs in a data directory.
func (a *app) showFleet(data string) error {
	s, err := readState(data)
	if err != nil {
		return err
	}
	return a.show(s, func() error { return s.show(&a.screen, &meter{}) })
}

// wishes reads the flags.
func (f *upFlags) wishes(settings []string) (wishes, error) {
	w := wishes{only: split(f.only), oneProcess: f.oneProcess, http: f.http, settings: settings}
	var err error
	if w.replicas, err = parseReplicas(f.replicas); err != nil {
		return w, err
	}
	if w.peers, err = parsePeers(f.peers); err != nil {
		return w, err
	}
	for name, instead := range map[string]string{
		"only": "--only", "peers": "--peers", "http": "--http", "data": "--data", "store": "--store", "broker": "--broker",
		"grpc": "nothing: ports are chosen", "admin": "nothing: ports are chosen", "edge": "nothing: the edge is chosen", "http-peers": "--peers",
	} {
		if given(settings, name) {
			return w, usagef("--%s after -- would be of every process: give argosy up %s instead", name, instead)
		}
	}
	for name, value := range map[string]string{"store": f.store, "broker": f.broker} {
		if setting.HasPassword(value) {
			return w, usagef("--%s: every user of this machine sees command lines, and this has a password: set the variable ARGOSY_%s", name, strings.ToUpper(name))
		}
	}
	if f.grace <= 0 {
		return w, usagef("the grace is %s, and must be more than nothing", f.grace)
	}
	return w, nil
}

// program is what argosy up runs.
type program struct {
	path  string
	about argosy.Description
	env   []string
}

// prepare builds the program into dir, unless it is built already, and asks it
// what it is.
func (f *upFlags) prepare(ctx context.Context, target, dir string, settings []string) (*program, error) {
	p := &program{env: os.Environ()}
	for name, value := range map[string]string{"ARGOSY_STORE": f.store, "ARGOSY_BROKER": f.broker, "ARGOSY_DATA": f.data} {
		if value != "" { // not as arguments: every user of a machine sees those
			p.env = append(p.env, name+"="+value)
		}
	}
	var err error
	if p.path, err = build(ctx, target, dir); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.path, append(settings[:len(settings):len(settings)], "--describe")...)
	cmd.Env = p.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		why := cmp.Or(strings.TrimSpace(errs.String()), err.Error())
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitUsage {
			return nil, usagef("%s", why)
		}
		return nil, fmt.Errorf("%s --describe: %s", p.path, why)
	}
	if err := json.Unmarshal(out.Bytes(), &p.about); err != nil || len(p.about.Services) == 0 {
		return nil, fmt.Errorf("%s is no program of Argosy, or has no services: %w", target, errors.Join(err, errors.New("it does not describe itself")))
	}
	p.about.Data, err = filepath.Abs(p.about.Data)
	return p, err
}

// build returns the path of the program: target itself if it is one, or what
// the package is built into.
func build(ctx context.Context, target, dir string) (string, error) {
	info, err := os.Stat(target)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return filepath.Abs(target)
	}
	into := filepath.Join(dir, "bin") + string(filepath.Separator)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", into, target)
	if out, err := cmd.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("%s must be built, and there is no go: %w", target, err)
		}
		return "", fmt.Errorf("build %s: %w\n%s", target, err, bytes.TrimSpace(out))
	}
	built, err := os.ReadDir(into)
	if err != nil || len(built) != 1 {
		return "", usagef("%s is not one program: go build made %d", target, len(built))
	}
	return filepath.Join(into, built[0].Name()), nil
}
