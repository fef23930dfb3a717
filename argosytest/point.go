package argosytest

import (
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Moment is when a process dies at an operation.
type Moment string

// The moments.
const (
	Before Moment = "before" // nothing of the operation has happened
	Midway Moment = "midway" // half of the messages are stored; nobody was told
	After  Moment = "after"  // all of it has happened; nobody was told
	// Unheard is no death: all of it has happened, the service was not told,
	// and its store cannot be reached for a moment. The process lives on and
	// has to find out.
	Unheard Moment = "unheard"
)

// dark is how long a store cannot be reached after a commit that was unheard.
const dark = 60 * time.Millisecond

// Point is a moment at which a process can die, or lose an answer: at the nth
// time that a service did an operation since the process began.
type Point struct {
	Service string
	// Operation is "commit" and the function that ran the transaction,
	// "publish" and the topic, or "ack" and the consumer.
	Operation string
	// Nth counts from 1.
	Nth    int
	Moment Moment
}

// String returns the form that [ParsePoints] reads.
func (p Point) String() string {
	return fmt.Sprintf("%s: %s #%d, %s", p.Service, p.Operation, p.Nth, p.Moment)
}

const then = " then "

func pathString(path []Point) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = p.String()
	}
	return strings.Join(parts, then)
}

var pointForm = regexp.MustCompile(`^([^:]*): (.+) #([1-9][0-9]{0,8}), (before|midway|after|unheard)$`)

// ParsePoints reads a failing case as [CrashEverywhere] prints it: points in
// the order in which the process died at them, joined by " then ".
func ParsePoints(s string) ([]Point, error) {
	var path []Point
	for part := range strings.SplitSeq(s, then) {
		m := pointForm.FindStringSubmatch(part)
		if m == nil {
			return nil, fmt.Errorf("%q is no point: it looks like %q", part, Point{"order", "commit saga.(*engine).begin", 2, After})
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			return nil, fmt.Errorf("%q is no point: %w", part, err)
		}
		path = append(path, Point{m[1], m[2], n, Moment(m[4])})
	}
	return path, nil
}

// life is that of one process: it counts what the process does, loses answers
// and ends at the points of a path.
type life struct {
	crashed chan struct{}

	mu      sync.Mutex
	path    []Point // those that were not reached
	reached int
	dead    bool
	quiet   bool // the start is not counted
	light   bool // all stores can be reached
	times   map[string]int
	seen    [][]Point // with the moment Before, in order, by how many points had been reached
}

func newLife(path []Point) *life {
	return &life{path: path, crashed: make(chan struct{}), times: map[string]int{}, seen: make([][]Point, 1)}
}

// reach counts an operation that is about to begin.
func (l *life) reach(service, operation string) Point {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := Point{Service: service, Operation: operation, Moment: Before}
	if l.dead || l.quiet {
		return p
	}
	key := service + ":" + operation
	l.times[key]++
	p.Nth = l.times[key]
	l.seen[l.reached] = append(l.seen[l.reached], p)
	return p
}

// relight ends the time in which a store cannot be reached: nothing waits any
// more, and whoever looks at what came of it is not to be kept in the dark.
func (l *life) relight() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.light = true
}

func (l *life) lit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.light
}

// ends reports whether the process is dead at a moment of p, and makes it so
// when its path says that.
func (l *life) ends(p Point, m Moment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.arrive(p, m) {
		l.dead = true
		close(l.crashed)
	}
	return l.dead
}

// unheard reports whether the answer to p is lost.
func (l *life) unheard(p Point) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.arrive(p, Unheard)
}

// doubted reports whether an answer was kept from the process.
func (l *life) doubted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached > 0 && !l.dead
}

// die ends the life.
func (l *life) die() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		close(l.crashed)
	}
}

// arrive reports whether the moment is the next of the path, and goes on to
// the one after it.
func (l *life) arrive(p Point, m Moment) bool {
	p.Moment = m
	if l.dead || len(l.path) == 0 || l.path[0] != p {
		return false
	}
	l.path = l.path[1:]
	l.reached++
	l.seen = append(l.seen, nil)
	return true
}

func (l *life) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// kill ends the life of a process that is not needed any more.
func (l *life) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

// count sets whether operations are counted from now on.
func (l *life) count(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiet = !on
}

// history returns what was done after none of the path's points had been
// reached, after the first, and so on.
func (l *life) history() [][]Point {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

const module = "github.com/argosy-go/argosy/"

// passed are packages that stand between a transaction and whoever ran it.
var passed = []string{module + "store.", module + "argosytest.", module + "idempotency."}

// caller names the function that runs the transaction, by the stack.
func caller() string {
	var pcs [48]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !between(frame.Function) {
			return shortName(frame.Function)
		}
		if !more {
			return "unknown"
		}
	}
}

func between(function string) bool {
	for _, p := range passed {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}

// shortName is "order.(*orders).PlaceOrder" for that method and every closure in it.
func shortName(function string) string {
	name := function[strings.LastIndexByte(function, '/')+1:]
	if i := strings.Index(name, ".func"); i > 0 {
		name = name[:i]
	}
	return strings.ReplaceAll(name, "[...]", "")
}
