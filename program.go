package argosy

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/argosy-go/argosy/engine"
	"github.com/argosy-go/argosy/internal/setting"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/telemetry"
)

// Program is what [Run] and [Start] run.
type Program struct {
	// Name is shown to people and names the data directory. Empty: "argosy".
	Name string
	// Engines are the stores and brokers that the program links.
	Engines engine.Set
	// Services are all services of the program; settings choose among them.
	Services []Service
	// Args are the command line arguments, without the program's name.
	Args []string
	// Env looks up environment variables. Nil: there are none.
	Env func(string) (string, bool)
	// Stdout receives the banner, Stderr the logs. Nil: discarded.
	Stdout, Stderr io.Writer
	// Wire makes in-process calls go through bytes, as over a network, and
	// RunTwice runs every transaction function twice. Both are for tests.
	Wire, RunTwice bool
	// Now is the clock of the services: of leases, timers, retries of events
	// and retention. Nil: time.Now. It is for tests.
	Now func() time.Time
	// Network is put round the connection over which service from calls the
	// contract, below the guards: a test loses, delays and repeats calls there.
	// Nil: nothing.
	Network func(from, contract string, conn grpc.ClientConnInterface) grpc.ClientConnInterface
}

func (p Program) stdout() io.Writer { return or(p.Stdout, io.Discard) }
func (p Program) stderr() io.Writer { return or(p.Stderr, io.Discard) }

func or(w, other io.Writer) io.Writer {
	if w == nil {
		return other
	}
	return w
}

// errVersion: the version was asked for.
var errVersion = errors.New("version")

// usageError is a mistake of the person who started the program.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// declare runs the Setup functions of all services and reads the settings. It
// returns all services and the ones that this process runs.
func (p *Program) declare(tel *telemetry.Telemetry) (every, chosen []*service.Setup, set settings, err error) {
	all := setting.NewSet(p.Name)
	set.Store, set.Broker = p.Engines.DefaultStore, p.Engines.DefaultBroker
	if err := all.Add("", "ARGOSY", &set); err != nil {
		return nil, nil, set, err
	}
	if every, err = p.setups(tel); err != nil {
		return nil, nil, set, err
	}
	for _, s := range every {
		for _, c := range s.Configs() {
			if err := all.Add(s.Name(), s.Name(), c); err != nil {
				return nil, nil, set, fmt.Errorf("service %s: %w", s.Name(), err)
			}
		}
	}
	env := p.Env
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	err = all.Parse(p.Args, env, "config")
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil, nil, set, errors.Join(err, p.help(all))
	case err != nil:
		return nil, nil, set, &usageError{err}
	case set.Version:
		return nil, nil, set, errVersion
	}
	if err := checkAdminToken(set.AdminToken); err != nil {
		return nil, nil, set, &usageError{err}
	}
	if set.rules, err = rulesOf(set, every); err != nil {
		return nil, nil, set, &usageError{err}
	}
	if set.Data == "" {
		set.Data = DataDir(p.Name, env)
	}
	chosen, err = choose(every, set.Only)
	return every, chosen, set, err
}

// setups declares every service and collects what is wrong with any of them.
func (p *Program) setups(tel *telemetry.Telemetry) ([]*service.Setup, error) {
	var setups []*service.Setup
	var errs []error
	instance := ""
	for _, svc := range p.Services {
		s := service.New(svc.Name, service.Options{Telemetry: tel, RunTwice: p.RunTwice, Instance: instance, Now: p.Now})
		instance = s.Instance()
		if slices.ContainsFunc(setups, func(o *service.Setup) bool { return o.Name() == svc.Name }) {
			s.Fail(errors.New("declared twice"))
		}
		if svc.Setup == nil {
			s.Fail(errors.New("it has no Setup function"))
		} else {
			s.Fail(svc.Setup(s))
		}
		errs = append(errs, s.Err())
		setups = append(setups, s)
	}
	return setups, errors.Join(errs...)
}

// choose keeps the services that only names; all, when it is empty.
func choose(setups []*service.Setup, only string) ([]*service.Setup, error) {
	if only == "" {
		return setups, nil
	}
	var chosen []*service.Setup
	for name := range strings.SplitSeq(only, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(setups, func(s *service.Setup) bool { return s.Name() == name })
		if i < 0 {
			var names []string
			for _, s := range setups {
				names = append(names, s.Name())
			}
			return nil, &usageError{fmt.Errorf("--only %s: there is no service %q; there are: %s", only, name, strings.Join(names, ", "))}
		}
		if !slices.Contains(chosen, setups[i]) {
			chosen = append(chosen, setups[i])
		}
	}
	return chosen, nil
}

func (p *Program) help(all *setting.Set) error {
	w := p.stdout()
	fmt.Fprintf(w, `%[1]s runs a fleet of services in one process, or a part of it.

Usage:
  %[1]s [settings]

Examples:
  %[1]s                                   the whole fleet, on :8080, :9090 and :9091
  %[1]s --http 127.0.0.1:0 --addr-file a  on free ports, written to the file a
  %[1]s --data ./data --log-format json   in a directory of its own, logs for machines

Every setting is a flag, a variable or a key of the file given by --config; the
first of the three that is set wins.
`, p.Name)
	return all.Help(w)
}

// DataDir returns the default data directory of a program: argosy/<program> in
// the user's state directory ($XDG_STATE_HOME, or its default on this system).
// env looks up variables, as os.LookupEnv does.
func DataDir(program string, env func(string) (string, bool)) string {
	base, ok := env("XDG_STATE_HOME")
	if !ok || !filepath.IsAbs(base) {
		home, ok := env("HOME")
		switch {
		case !ok || home == "":
			base = filepath.Join(os.TempDir(), "state")
		case runtime.GOOS == "darwin":
			base = filepath.Join(home, "Library", "Application Support")
		default:
			base = filepath.Join(home, ".local", "state")
		}
	}
	return filepath.Join(base, "argosy", program)
}
