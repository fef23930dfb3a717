package argosytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/broker/memory"
)

// Step is a part of a [Scenario].
type Step func(ctx context.Context, f *Fleet) error

// Scenario is one run of the work that is to survive a crash.
type Scenario struct {
	// Config is the fleet. Its directory, broker and clock outlive the crash.
	Config
	// Work is what the fleet's clients do. It returns when they are done. When
	// the process dies or loses an answer its error is ignored, and it is
	// called again, on the process that was started in its place, as clients
	// come back: with the same idempotency keys.
	Work Step
	// Invariant is what must hold once the fleet is quiet, however it got
	// there. Its error says what does not.
	Invariant Step
	// End releases what the scenario made for itself. Nil: nothing.
	End func()
}

// Plan says how thoroughly to crash. The zero value crashes everywhere.
type Plan struct {
	// Most is the greatest number of cases, chosen by Seed. Zero: all.
	Most int
	Seed uint64
	// Repeats is the most times that one operation of a process is crashed at;
	// those further on are left out, and counted. Zero: 16.
	Repeats int
	// RepeatsOf is Repeats for single operations, as
	// "commit event.(*hold).release": for what a process does many times alike,
	// as once for each partition.
	RepeatsOf map[string]int
	// Parallel is how many cases run at the same time. Zero: 4.
	Parallel int
	// Start also crashes before the fleet was ready and quiet for the first
	// time, while it claims its leases and fills its tables.
	Start bool
}

// Result is what a plan came to.
type Result struct {
	// Points are the points at which a process was to die, Reached how many
	// cases really died there: what a process does differs from run to run.
	Points, Reached int
	// Deep is how many of them had a second point, in what the process did only
	// because of the first.
	Deep int
	// LeftOut is how many points were not tried, for Most, Repeats or RepeatsOf.
	LeftOut int
	// Operations counts the points by what the process was doing: commit,
	// publish, ack.
	Operations map[string]int
	// Took is the time from the first case to the last.
	Took time.Duration
}

// String is one line for people.
func (r Result) String() string {
	var kinds []string
	for kind, n := range r.Operations {
		kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(kinds)
	return fmt.Sprintf("%d points of failure (%s), %d reached, %d of them after another, %d left out, in %s",
		r.Points, strings.Join(kinds, ", "), r.Reached, r.Deep, r.LeftOut, r.Took.Round(10*time.Millisecond))
}

// PointVariable names the environment variable that holds a single case to
// run: points as a failure prints them.
const PointVariable = "ARGOSY_CRASH_POINT"

// CrashEverywhere runs the scenario once undisturbed, and then once for every
// commit and every call to the broker that it has seen, killing the process
// before it or after it, or keeping the answer from it. The process is started again on what it left behind,
// with the clock a minute further on, so that leases have expired; the work is
// called again; and once all is quiet the invariant is checked. Operations
// that are seen for the first time after a crash are points too: they are
// reached by the same crash and then another, until no run shows a new one.
//
// A failure prints its case. To run it alone:
//
//	ARGOSY_CRASH_POINT='order: commit order.(*orders).PlaceOrder #1, after' go test -run TestName
//
// Cases run side by side, so the scenario has no state outside what its
// function makes.
func CrashEverywhere(t testing.TB, scenario func(t testing.TB) Scenario) Result {
	t.Helper()
	return Plan{}.CrashEverywhere(t, scenario)
}

// CrashEverywhere is the function of the same name, by plan.
func (p Plan) CrashEverywhere(t testing.TB, scenario func(t testing.TB) Scenario) Result {
	t.Helper()
	if p.Repeats <= 0 {
		p.Repeats = 16
	}
	if p.Parallel <= 0 {
		p.Parallel = 4
	}
	c := &campaign{t: t, plan: p, scenario: scenario, known: map[Point]bool{}, did: map[string]bool{}, begun: time.Now()}
	if single := os.Getenv(PointVariable); single != "" {
		path, err := ParsePoints(single)
		if err != nil {
			t.Fatalf("%s: %v", PointVariable, err)
		}
		c.run([][]Point{path})
	} else {
		c.everywhere()
	}
	c.result.Took = time.Since(c.begun)
	t.Logf("%v", c.result)
	return c.result
}

// campaign is a plan under way.
type campaign struct {
	t        testing.TB
	plan     Plan
	scenario func(t testing.TB) Scenario
	begun    time.Time

	mu     sync.Mutex
	known  map[Point]bool  // operations that are planned for or left out
	did    map[string]bool // those, however often they were done
	queue  [][]Point
	failed bool
	result Result
}

// everywhere runs the undisturbed case and then what it and the others show.
func (c *campaign) everywhere() {
	c.run([][]Point{nil})
	for !c.failed {
		c.mu.Lock()
		next := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(next) == 0 {
			return
		}
		c.run(c.choose(next))
	}
}

// choose leaves out cases beyond the most that the plan allows.
func (c *campaign) choose(cases [][]Point) [][]Point {
	room := len(cases)
	if c.plan.Most > 0 {
		room = max(0, c.plan.Most-c.result.Points)
	}
	if room < len(cases) {
		r := rand.New(rand.NewPCG(c.plan.Seed, uint64(c.result.Points)))
		r.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
		c.result.LeftOut += len(cases) - room
		cases = cases[:room]
	}
	return cases
}

// run runs cases side by side and stops at the first that fails.
func (c *campaign) run(cases [][]Point) {
	next := make(chan []Point)
	var all sync.WaitGroup
	for range min(c.plan.Parallel, len(cases)) {
		all.Go(func() {
			for path := range next {
				c.one(path)
			}
		})
	}
	for _, path := range cases {
		next <- path
	}
	close(next)
	all.Wait()
}

// one runs one case and takes down what it has shown.
func (c *campaign) one(path []Point) {
	c.mu.Lock()
	stop := c.failed
	c.mu.Unlock()
	if stop {
		return
	}
	r := &run{plan: c.plan, left: path, log: &tail{}}
	err := r.do(c.t, c.scenario)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed = true
		c.t.Errorf("killed at\n\t%s\n%v\nrun it alone with %s='%s'\nthe last of its log:\n%s", orNowhere(path), err, PointVariable, pathString(path), r.log)
		return
	}
	c.count(path, r)
	for i, seen := range r.seen {
		before := path[:min(i, len(path))]
		// In a process that tries again what it does not know to be done, the
		// count of an operation goes on; only what it never did before is new.
		again := slices.ContainsFunc(before, func(p Point) bool { return p.Moment == Unheard })
		for _, p := range seen {
			if !again || !c.did[p.Service+p.Operation] {
				c.expect(before, p)
			}
		}
	}
}

func orNowhere(path []Point) string {
	if len(path) == 0 {
		return "no point: the undisturbed run"
	}
	return pathString(path)
}

// count adds a case that held to the result.
func (c *campaign) count(path []Point, r *run) {
	if len(path) == 0 {
		return
	}
	c.result.Points++
	if len(r.left) == 0 {
		c.result.Reached++
		if len(path) > 1 {
			c.result.Deep++
		}
	}
	if c.result.Operations == nil {
		c.result.Operations = map[string]int{}
	}
	kind, _, _ := strings.Cut(path[len(path)-1].Operation, " ")
	c.result.Operations[kind]++
}

// expect plans for an operation that was seen after the process had died at
// the points of path.
func (c *campaign) expect(path []Point, p Point) {
	if c.known[p] {
		return
	}
	c.known[p] = true
	c.did[p.Service+p.Operation] = true
	moments := []Moment{Before, After, Unheard}
	if strings.HasPrefix(p.Operation, "publish ") {
		moments = append(moments, Midway)
	}
	repeats, ok := c.plan.RepeatsOf[p.Operation]
	if !ok {
		repeats = c.plan.Repeats
	}
	if p.Nth > repeats {
		c.result.LeftOut += len(moments)
		return
	}
	for _, m := range moments {
		p.Moment = m
		c.queue = append(c.queue, append(slices.Clone(path), p))
	}
}

// run is one case: a process that dies at the points of path, one after the
// other, and is started again each time.
type run struct {
	plan Plan
	left []Point // the points that were not reached
	log  *tail
	seen [][]Point // what was done after so many of the points
	old  bool      // a process has died
}

var errStuck = errors.New("it takes too long")

// do runs the case.
func (r *run) do(t testing.TB, scenario func(testing.TB) Scenario) error {
	dir, err := os.MkdirTemp("", "argosytest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := scenario(t)
	if s.End != nil {
		defer s.End()
	}
	s.Log = r.log
	if s.Dir == "" {
		s.Dir = dir
	}
	if s.Clock == nil {
		s.Clock = &Clock{}
	}
	if s.Broker == nil {
		s.Broker = memory.NewServer()
	}
	for {
		l := newLife(r.left)
		l.count(r.plan.Start || r.old)
		err := r.live(s, l)
		r.note(l)
		select {
		case <-l.crashed: // what it said as it died does not count
			r.old = true
			s.Clock.Jump(time.Minute)
		default:
			return err
		}
	}
}

// note takes down what a process has done. A new one begins where the last one died.
func (r *run) note(l *life) {
	seen := l.history()
	if n := len(r.seen); n > 0 {
		seen[0] = append(r.seen[n-1], seen[0]...)
		r.seen = r.seen[:n-1]
	}
	r.seen = append(r.seen, seen...)
	r.left = l.path
}

// live is the life of one process of the case.
func (r *run) live(s Scenario, l *life) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), Patience, errStuck)
	defer cancel()
	f, err := s.start(ctx, l)
	if err != nil && l.doubted() { // it ends, as programs do, and is started again
		l.die()
		return nil
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if !r.plan.Start && !r.old {
		err = f.awaitQuiet(ctx)
	}
	l.count(true)
	if err == nil {
		err = r.work(ctx, f, s, l)
	}
	if err != nil || l.ended() {
		l.kill() // what is still under way writes no more
		stop, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		_ = f.Stop(stop) // it is dead and has every reason to complain
		return err
	}
	stop, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := f.Stop(stop); err != nil && !l.ended() {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// work lets the clients work, waits until all is quiet and checks what must
// hold; it returns early when the process dies.
func (r *run) work(ctx context.Context, f *Fleet, s Scenario, l *life) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- insist(ctx, f, s.Work, l) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("work: %w", err)
		}
	case <-l.crashed:
		cancel()
		<-done
		return nil
	}
	go func() { done <- f.awaitQuiet(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-l.crashed:
		cancel()
		<-done
		return nil
	}
	l.relight()
	if err := s.Invariant(ctx, f); err != nil {
		return fmt.Errorf("what must hold does not: %w", err)
	}
	return nil
}

// insist calls the work, and again when an answer was kept from the service:
// its clients come back as they do after a crash.
func insist(ctx context.Context, f *Fleet, work Step, l *life) error {
	tick := time.NewTicker(dark / 2)
	defer tick.Stop()
	for {
		err := work(ctx, f)
		if err == nil || !l.doubted() || l.ended() {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 16 << 10

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if over := w.buf.Len() - tailBytes; over > 0 {
		w.buf.Next(over)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
