package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/argosy-go/argosy/internal/supervise"
)

// attempts is how often a process may die, in a row, before the fleet has been
// ready for the first time: then it is taken to be broken.
const attempts = 3

// running is a fleet of processes.
type running struct {
	app     *app
	program *program
	grace   time.Duration
	units   []unit
	env     []string // of every process
	board   *board
	meter   meter

	certificates *certificates // nil: argosy up makes none
	begun        time.Time
	broken       chan error // one process cannot be started

	mu        sync.Mutex
	processes map[string]*supervise.Process
	stopping  bool
	wasReady  bool
	unsaved   error // why the state is not in its file
}

// up runs the fleet until a signal comes.
func (f *upFlags) up(ctx context.Context, a *app, p *program, w wishes) error {
	r := &running{app: a, program: p, grace: f.grace, begun: time.Now(), broken: make(chan error, 1), processes: map[string]*supervise.Process{}}
	if err := r.plan(w); err != nil {
		return err
	}
	release, err := claim(p.about.Data)
	if err != nil {
		return err
	}
	defer release()
	if err := r.certify(w); err != nil {
		return err
	}
	var names []string
	for _, u := range r.units {
		names = append(names, u.Name)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	r.board = newBoard(&a.screen, a.asJSON(), names, func(s *screen) error { return r.state().show(s, &r.meter) })
	stop := r.keepCertificates()
	err = r.run(ctx, signals)
	stop()
	r.board.close()
	return errors.Join(err, os.Remove(stateFile(p.about.Data)))
}

// claim makes the data directory and keeps other fleets out of it.
func claim(data string) (release func(), err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w; choose another with --data", err)
	}
	lock := flock.New(filepath.Join(data, "up.lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data directory: %w", err), lock.Close())
	}
	if !held {
		_ = lock.Close() // it holds nothing
		return nil, fmt.Errorf("another argosy up runs in %s: stop it, or choose another directory with --data", data)
	}
	return func() { _ = lock.Close() }, nil // the lock goes with the process anyway
}

// plan decides which processes there are.
func (r *running) plan(w wishes) error {
	free := newPorts()
	host, port, err := net.SplitHostPort(w.http)
	if err != nil {
		return usagef("--http %q: %v", w.http, err)
	}
	if port == "0" { // the others must know it before it listens
		address, err := free.free()
		if err != nil {
			return err
		}
		_, port, _ = net.SplitHostPort(address) // it comes from JoinHostPort
		w.http = net.JoinHostPort(host, port)
	}
	about := r.program.about
	if r.units, err = (planner{program: about, wishes: w, port: free.free}).plan(); err != nil {
		return err
	}
	r.env = append(r.program.env, "ARGOSY_DATA="+about.Data)
	if w.oneProcess || about.Broker != "embedded" || !r.needBroker() {
		return nil
	}
	address, err := free.free()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	last := r.units[len(r.units)-1].tier + 1
	r.units = append(r.units, unit{
		Name: "broker", Replica: 1, Broker: "nats://" + address, tier: last,
		args: []string{self, "broker", "--data=" + about.Data, "--listen=" + address},
	})
	r.env = append(r.env, "ARGOSY_BROKER=nats://"+address)
	return nil
}

// needBroker reports whether a service that runs needs a broker.
func (r *running) needBroker() bool {
	for _, s := range r.program.about.Services {
		if s.NeedsBroker && slices.ContainsFunc(r.units, func(u unit) bool { return u.Service == s.Name }) {
			return true
		}
	}
	return false
}

// run starts the fleet, waits for its end and drains it.
func (r *running) run(ctx context.Context, signals <-chan os.Signal) error {
	err := r.start(ctx, signals)
	if err == nil {
		r.announce()
		select {
		case <-signals:
		case <-ctx.Done():
		}
	}
	if errors.Is(err, errInterrupted) {
		err = nil
	}
	return errors.Join(err, r.drain(signals))
}

var errInterrupted = errors.New("interrupted")

// start starts the broker, then everything else, and waits until all are ready.
func (r *running) start(ctx context.Context, signals <-chan os.Signal) error {
	for i, u := range r.units {
		if u.Broker != "" {
			if err := r.await(ctx, signals, r.launch(u, i)); err != nil {
				return err
			}
		}
	}
	var all []*supervise.Process
	for i, u := range r.units {
		if u.Broker == "" {
			all = append(all, r.launch(u, i))
		}
	}
	return r.await(ctx, signals, all...)
}

// await waits until processes are ready.
func (r *running) await(ctx context.Context, signals <-chan os.Signal, all ...*supervise.Process) error {
	for _, p := range all {
		select {
		case <-p.Ready():
		case err := <-r.broken:
			return err
		case <-signals:
			return errInterrupted
		case <-ctx.Done():
			return errInterrupted
		}
	}
	return nil
}

// launch starts a process.
func (r *running) launch(u unit, i int) *supervise.Process {
	styles := []string{cyan, green, yellow, "35", "34", "36;1", "32;1", "33;1", "35;1", "34;1"}
	spec := supervise.Spec{
		Name: u.Name, Env: r.env, Grace: r.grace, Ready: readyAt("http://" + u.Admin + "/readyz"),
		Output: &lines{board: r.board, name: u.Name, style: styles[i%len(styles)]},
	}
	switch {
	case u.Broker != "":
		spec.Command, spec.Ready = u.args, brokerAt(u.Broker)
	default:
		spec.Command = append([]string{r.program.path}, u.args...)
		if r.board.live() && !given(u.args, "log-format") {
			spec.Command = append(spec.Command, "--log-format=console")
		}
	}
	r.mu.Lock() // what it changes at once waits until it is known
	defer r.mu.Unlock()
	p := supervise.Start(spec, supervise.Config{Changed: r.changed})
	r.processes[u.Name] = p
	return p
}

// readyAt asks a process whether it is ready.
func readyAt(url string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		_ = resp.Body.Close() // the status says all
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
}

// brokerAt asks a NATS server, whose first line to a client says that it can
// store (docs.nats.io, client protocol, INFO).
func brokerAt(at string) func(context.Context) error {
	return func(ctx context.Context) error {
		u, err := url.Parse(at)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return err
		}
		defer conn.Close()
		if deadline, ok := ctx.Deadline(); ok {
			if err := conn.SetReadDeadline(deadline); err != nil {
				return err
			}
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "INFO ") || !strings.Contains(line, `"jetstream":true`) {
			return errors.New("it does not store yet")
		}
		return nil
	}
}

// changed is told of the states of all processes.
func (r *running) changed(s supervise.Status) {
	text := string(s.State)
	switch s.State {
	case supervise.Waiting:
		text = fmt.Sprintf("has ended (%s) and is started again in %s", s.Why, s.Pause.Round(time.Millisecond))
	case supervise.Starting:
		text = fmt.Sprintf("is started again (restart %d)", s.Restarts)
	case supervise.Ready:
		text = fmt.Sprintf("is ready, pid %d", s.PID)
	case supervise.Unready:
		text = "is not ready any more"
	case supervise.Stopping:
		text = "is asked to end"
	case supervise.Stopped:
		text = "has ended"
		if s.Why != "" {
			text += " (" + s.Why + ")"
		}
	}
	r.mu.Lock()
	state := r.known()
	early := !r.wasReady && !r.stopping
	err := state.write(r.program.about.Data)
	tell := err != nil && r.unsaved == nil
	r.unsaved = err
	r.mu.Unlock()
	var now *member
	for i := range state.Processes {
		if p := &state.Processes[i]; p.Name == s.Name {
			now = p
		}
	}
	r.board.event(entry{Event: "state", Name: s.Name, member: now}, s.Name+" "+text)
	if tell {
		r.board.event(entry{Event: "note", Line: err.Error()}, "the state is not written for argosy up --status: "+err.Error())
	}
	if early && s.State == supervise.Waiting && (s.ExitCode == exitUsage || s.Deaths >= attempts) {
		select {
		case r.broken <- fmt.Errorf("%s does not start: %s; its lines above say why", s.Name, s.Why):
		default: // another was first
		}
	}
}

// state returns what is known of all processes.
func (r *running) state() fleetState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known()
}

// known is state for who holds the lock.
func (r *running) known() fleetState {
	s := fleetState{Program: r.program.about.Program, PID: os.Getpid(), Since: r.begun}
	for _, u := range r.units {
		if u.Edge && u.Replica == 1 {
			s.Edge = "http://" + reachable(u.HTTP)
		}
		m := member{unit: u, State: supervise.Starting, Since: r.begun}
		if p := r.processes[u.Name]; p != nil {
			now := p.Status()
			m.State, m.PID, m.Restarts, m.Since, m.Why = now.State, now.PID, now.Restarts, now.Since, now.Why
		}
		s.Processes = append(s.Processes, m)
	}
	return s
}

// announce says that the fleet is ready, and where to look.
func (r *running) announce() {
	took := time.Since(r.begun)
	r.mu.Lock()
	r.wasReady = true
	r.mu.Unlock()
	s := r.state()
	text := fmt.Sprintf("%s is ready after %s: %s", s.Program, took.Round(time.Millisecond), processes(len(s.Processes)))
	if s.Edge != "" {
		text += "\n  page     " + s.Edge
	}
	text += "\n  data     " + r.program.about.Data
	if r.certificates != nil {
		text += "\n  calls    between processes are proved and encrypted: certificates in " + r.certificates.dir
	}
	text += "\n  admin    export ARGOSY_ADMIN_URL=" + s.admins()
	text += "\nCtrl-C drains and stops; a second one kills."
	r.board.event(entry{Event: "ready", Line: s.Edge, Took: took.Seconds()}, text)
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// drain stops the processes, tier by tier. A signal kills what is left.
func (r *running) drain(signals <-chan os.Signal) error {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	drained := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-signals:
			cancel(errors.New("killed by a second signal"))
		case <-drained:
		}
	})
	var errs []error
	for at := 0; at < len(r.units); { // sorted by tier
		end := at
		var tier []*supervise.Process
		for ; end < len(r.units) && r.units[end].tier == r.units[at].tier; end++ {
			if p := r.processes[r.units[end].Name]; p != nil {
				tier = append(tier, p)
			}
		}
		errs = append(errs, stopAll(ctx, tier))
		at = end
	}
	close(drained)
	watching.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	r.board.event(entry{Event: "stopped"}, r.program.about.Program+" drained and stopped")
	return nil
}

// stopAll stops processes side by side.
func stopAll(ctx context.Context, all []*supervise.Process) error {
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, p := range all {
		stopping.Go(func() { errs[i] = p.Stop(ctx) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}
