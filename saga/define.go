package saga

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migrations returns the migrations of the tables that runs are kept in, set
// "argosy_saga". [Define] adds them to the service's database.
func Migrations() fs.FS { return migrationFiles }

// definition is a saga without its type.
type definition struct {
	name     string
	version  string         // a digest of the list: see version
	roots    []*step        // as they were given
	steps    []*step        // all, also those in a When or an Each, in order
	plain    []place        // the places of steps, where there are no branches
	branches bool           // there is a When or an Each
	index    map[string]int // of steps
	pivot    int            // len(steps) when there is none
	deadline func(state proto.Message) time.Duration
	end      func(ctx context.Context, tx *store.Tx, state proto.Message, o Outcome) error
	// onStep is nil when nobody wants to know.
	onStep func(ctx context.Context, tx *store.Tx, state proto.Message, name string) error
	fresh  func() proto.Message
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*([-.][a-z0-9]+)*$`)

// Define declares a saga of the service: its steps in order. What is wrong
// with the list is reported by the program's start. Names of sagas and steps
// are lower case letters, digits and single hyphens. They are stored with every
// run: a run resumes at the step of the stored name, and parks when the list no
// longer agrees with what the run has done.
func Define[S proto.Message](s *service.Setup, name string, steps ...Step[S]) Saga[S] {
	e := engineOf(s)
	d := &definition{name: name, index: map[string]int{}}
	var zero S
	if any(zero) == nil {
		s.Fail(fmt.Errorf("saga %s: the state must be a generated message type, not an interface", name))
	} else {
		typ := zero.ProtoReflect().Type()
		d.fresh = func() proto.Message { return typ.New().Interface() }
	}
	plain := make([]*step, len(steps))
	for i := range steps {
		plain[i] = &steps[i].s
	}
	if err := d.build(plain); err != nil {
		s.Fail(fmt.Errorf("saga %s: %w", name, err))
	}
	if e.sagas[name] != nil {
		s.Fail(fmt.Errorf("saga %s is defined twice", name))
	}
	e.sagas[name] = d
	s.Declare(service.Edge{Kind: service.RunsSaga, Name: name})
	return Saga[S]{e: e, d: d}
}

// build takes the steps in and returns all that is wrong with them.
func (d *definition) build(steps []*step) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(d.name) > 64 || !nameForm.MatchString(d.name) {
		bad("the name must be lower case letters, digits and single hyphens, at most 64")
	}
	d.pivot = -1
	for i, s := range steps {
		if err := s.check(); err != nil {
			bad("step %q: %w", s.name, err)
		}
		switch s.kind {
		case kindOnStep:
			if d.onStep != nil {
				bad("OnStep is given twice")
			}
			d.onStep = s.onStep
		case kindDeadline:
			if d.deadline != nil {
				bad("Deadline is given twice")
			}
			d.deadline = s.sleep
		case kindEnd:
			if i != len(steps)-1 {
				bad("End must be the last of the list, once")
			}
			d.end = s.end
		default:
			d.roots = append(d.roots, s)
			d.add(s, bad)
		}
	}
	if len(d.steps) == 0 {
		bad("no steps")
	}
	if d.pivot < 0 {
		d.pivot = len(d.steps)
	}
	d.plain = expand(nil, d.roots, choices{})
	d.version = d.digest()
	return errors.Join(errs...)
}

// add takes in a step and those that it holds.
func (d *definition) add(s *step, bad func(format string, args ...any)) {
	if len(s.name) > 64 || !nameForm.MatchString(s.name) {
		bad("step %q: the name must be lower case letters, digits and single hyphens, at most 64", s.name)
	}
	if s.name == "undo" { // "<run>/<step>/undo" is the key of an undo
		bad("step %q: the name is reserved", s.name)
	}
	if _, twice := d.index[s.name]; twice {
		bad("step %q: two steps have this name", s.name)
	}
	switch {
	case s.kind == kindPivot && d.pivot >= 0:
		bad("step %q: a second pivot; %q is the pivot", s.name, d.steps[d.pivot].name)
	case s.kind == kindPivot:
		d.pivot = len(d.steps)
	case s.kind == kindDo && d.pivot >= 0:
		bad("step %q: a Do after the pivot can no longer be undone: use Then", s.name)
	case s.kind == kindThen && d.pivot < 0:
		bad("step %q: a Then needs a pivot before it: use Do", s.name)
	}
	d.index[s.name] = len(d.steps)
	d.steps = append(d.steps, s)
	d.branches = d.branches || s.kind == kindWhen || s.kind == kindEach
	for _, inner := range s.steps {
		if err := inner.check(); err != nil {
			bad("step %q: %w", inner.name, err)
		}
		d.add(inner, bad)
	}
}

// digest is the version of a list: its names and kinds, in order.
func (d *definition) digest() string {
	h := sha256.New()
	for _, s := range d.steps {
		fmt.Fprintf(h, "%v %s %d\n", s.kind, s.name, len(s.steps))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// step returns the step at a path ("step" or "step/item"), or nil.
func (d *definition) step(path string) *step {
	name, _, _ := strings.Cut(path, "/")
	if i, ok := d.index[name]; ok {
		return d.steps[i]
	}
	return nil
}

// agree reports whether a loaded run fits the list: its step is known, and the
// steps that come before it are the ones that it has done. Going back, each
// step only has to be known when its turn comes.
func (d *definition) agree(r *record) error {
	places, err := d.plan(r.choices)
	if err != nil {
		return err
	}
	i := len(places)
	if r.step != "" {
		i = slices.IndexFunc(places, func(p place) bool { return p.path() == r.step })
	}
	if r.status != forward {
		if d.step(r.step) == nil && r.step != "" {
			return fmt.Errorf("the program has no step %q in saga %q", r.step, d.name)
		}
		return nil
	}
	if i < 0 {
		return fmt.Errorf("the program has no step %q in saga %q", r.step, d.name)
	}
	done := split(r.done)
	if !slices.EqualFunc(places[:i], done, func(p place, name string) bool { return p.path() == name }) {
		names := make([]string, i)
		for n, p := range places[:i] {
			names[n] = p.path()
		}
		return fmt.Errorf("the run has done [%s], but the program's list up to %q is [%s]", r.done, r.step, strings.Join(names, ","))
	}
	return nil
}

// decode returns the state that b holds.
func (d *definition) decode(b []byte) (proto.Message, error) {
	m := d.fresh()
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("decode the state of saga %s: %w", d.name, err)
	}
	return m, nil
}
