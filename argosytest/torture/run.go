//go:build linux

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// probeTimeout bounds one probe.
const probeTimeout = 10 * time.Second

// run is a plan at work.
type run struct {
	plan    Plan
	begun   time.Time
	targets map[string]chan struct{} // holds one token while the target suffers
	end     context.CancelFunc       // of every process
	probing chan struct{}            // holds one token while somebody probes
	proved  time.Time                // when the last probe that succeeded began; for who probes

	mu     sync.Mutex
	active int // strikes under way
	struck int // strikes so far
	report Report
}

// execute carries out a plan with its defaults set. Everything that it starts
// has ended when it returns.
func execute(ctx context.Context, p Plan) Report {
	r := &run{plan: p, targets: map[string]chan struct{}{}, probing: make(chan struct{}, 1)}
	r.report = Report{Seed: p.Seed, Length: p.Length, Every: p.Every, Begun: time.Now()}
	if err := p.check(); err != nil {
		r.problem("the plan: %v", err)
		return r.report
	}
	for _, f := range p.Faults {
		for _, t := range f.Targets {
			r.targets[t] = make(chan struct{}, 1)
		}
	}
	life, end := context.WithCancel(ctx)
	r.end = end
	var processes sync.WaitGroup
	if r.start(life, &processes) {
		r.torture(life)
		r.judge(life)
		r.stop(life)
	}
	end()
	processes.Wait()
	r.outputs()
	return r.report
}

// start starts the processes one after another.
func (r *run) start(ctx context.Context, all *sync.WaitGroup) bool {
	r.begun = time.Now()
	for _, p := range r.plan.Processes {
		all.Go(func() {
			p.keep(ctx, func(what string) { r.problem("%s (%s after the start)", what, r.elapsed()) })
		})
		if err := r.patiently(ctx, p.AwaitReady); err != nil {
			r.problem("at the start: %v", err)
			return false
		}
	}
	return true
}

// torture makes load and injects faults for the length of the plan, and
// returns when all is healed and the load has gone.
func (r *run) torture(ctx context.Context) {
	r.begun = time.Now()
	limited, cancel := context.WithTimeout(ctx, r.plan.Length)
	defer cancel()
	var strikes sync.WaitGroup
	loaded := make(chan struct{})
	go func() { // waited for below
		defer close(loaded)
		r.load(limited)
	}()
	for _, s := range r.plan.Schedule() {
		if pause(limited, time.Until(r.begun.Add(s.At))) != nil {
			break
		}
		strikes.Go(func() { r.strike(ctx, limited, s) })
	}
	<-limited.Done()
	strikes.Wait()
	select {
	case <-loaded:
	case <-time.After(r.plan.Patience):
		r.problem("the load did not end within %s of the last heal; the processes are ended under it", r.plan.Patience)
		r.end()
		<-loaded
	}
}

func (r *run) load(ctx context.Context) {
	if r.plan.Load == nil {
		return
	}
	figures, err := r.plan.Load(ctx)
	if err != nil {
		r.problem("the load: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Load = figures
}

// strike injects one fault, lets it last, heals it and waits for recovery.
// When limited ends, what lasts is healed; ctx bounds the healing itself.
func (r *run) strike(ctx, limited context.Context, s Strike) {
	f := r.plan.Faults[slices.IndexFunc(r.plan.Faults, func(f Fault) bool { return f.Name == s.Fault })]
	e := Event{Strike: s}
	release, err := r.take(limited, f.Targets)
	if err != nil {
		e.Notes = "left out: its target suffered until the end"
		r.record(e)
		return
	}
	scene := &Scene{Dice: rand.New(rand.NewPCG(s.Seed, 1))}
	e.Injected = r.elapsed()
	others := r.join()
	heal, err := f.Inject(limited, scene)
	if err != nil && limited.Err() == nil {
		r.problem("%s at %s: %v", f.Name, e.Injected, err)
	}
	if err == nil {
		_ = pause(limited, s.Lasts) // the end of the run ends the fault early
	}
	if heal != nil {
		if err := r.patiently(ctx, heal); err != nil {
			r.problem("%s at %s cannot be healed: %v", f.Name, e.Injected, err)
		}
	}
	e.Healed = r.elapsed()
	release() // it may suffer again before it has recovered
	r.recovery(ctx, &e)
	e.Alone = others() == 0
	e.Notes = scene.notes()
	r.record(e)
}

// join counts a strike among those that are under way. The function that it
// returns ends it, and returns how many others there were meanwhile.
func (r *run) join() (leave func() int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.struck++
	r.active++
	before, already := r.struck, r.active-1
	return func() int {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.active--
		return already + r.struck - before
	}
}

// recovery waits until the processes serve again. Patience begins when nothing
// strikes any more: before that, it may be another fault that it waits for.
func (r *run) recovery(ctx context.Context, e *Event) {
	last := r.begun.Add(r.plan.Length)
	if now := time.Now(); now.After(last) {
		last = now
	}
	ctx, cancel := context.WithDeadline(ctx, last.Add(r.plan.Patience))
	defer cancel()
	if err := r.recovered(ctx); err != nil {
		r.problem("no recovery from %s at %s: %v", e.Fault, e.Injected, err)
	}
	e.Recovered = r.elapsed()
}

// recovered waits until a probe succeeds that began after now. Those who wait
// share the probes, so that to look at an ailing process does not weigh on it.
func (r *run) recovered(ctx context.Context) error {
	if r.plan.Probe == nil {
		return r.ready(ctx)
	}
	healed := time.Now()
	return until(ctx, func(ctx context.Context) error {
		select {
		case r.probing <- struct{}{}:
			defer func() { <-r.probing }()
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.proved.After(healed) {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		begun := time.Now()
		err := r.plan.Probe(ctx)
		if err == nil {
			r.proved = begun
		}
		return err
	})
}

func (r *run) ready(ctx context.Context) error {
	for _, p := range r.plan.Processes {
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take waits until the targets suffer nothing else, and keeps them.
func (r *run) take(ctx context.Context, targets []string) (release func(), err error) {
	var taken []string
	release = func() {
		for _, t := range taken {
			<-r.targets[t]
		}
	}
	for _, t := range slices.Compact(slices.Sorted(slices.Values(targets))) { // one order for all: no two wait for each other
		select {
		case r.targets[t] <- struct{}{}:
			taken = append(taken, t)
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}

// judge waits until all work has ended and checks what must hold.
func (r *run) judge(ctx context.Context) {
	if err := r.patiently(ctx, r.ready); err != nil {
		r.problem("after everything was healed: %v", err)
	}
	if r.plan.Quiet != nil {
		begun := time.Now()
		if err := r.patiently(ctx, r.plan.Quiet); err != nil {
			r.problem("work did not end: %v", err)
		}
		r.report.QuietAfter = time.Since(begun)
	}
	if r.plan.Invariant != nil {
		err := r.patiently(ctx, func(ctx context.Context) (err error) {
			r.report.Found, err = r.plan.Invariant(ctx)
			return err
		})
		if err != nil {
			r.problem("the invariant: %v", err)
		}
	}
}

// stop ends the processes as a deploy does.
func (r *run) stop(ctx context.Context) {
	for _, p := range slices.Backward(r.plan.Processes) {
		p.Hold()
		if err := p.Terminate(ctx); err != nil {
			r.problem("at the end: %v", err)
		}
	}
}

// outputs adds what the processes said.
func (r *run) outputs() {
	for _, p := range r.plan.Processes {
		if p.said == nil {
			continue
		}
		if cry := p.said.cry(); len(cry) > 0 {
			r.problem("%s cried: %s", p.Name, cry[0])
			r.report.Said = append(r.report.Said, Said{p.Name + ": its first cry", cry})
		}
		r.report.Said = append(r.report.Said, Said{p.Name, p.said.last()})
		r.report.Starts = append(r.report.Starts, Figure{p.Name, fmt.Sprintf("%d, of which %d ended by themselves before it was ready", p.starts, p.unready)})
	}
	r.report.Took = time.Since(r.report.Begun)
}

// patiently calls f with the plan's patience.
func (r *run) patiently(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.plan.Patience, fmt.Errorf("it took longer than %s", r.plan.Patience))
	defer cancel()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

func (r *run) elapsed() time.Duration { return time.Since(r.begun).Round(time.Millisecond) }

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Problems = append(r.report.Problems, fmt.Sprintf(format, args...))
}

func (r *run) record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Events = append(r.report.Events, e)
}
