package saga

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/fault"
)

// MaxItems is the most items that an [Each] may have.
const MaxItems = 1000

// When takes the steps if decide says so. The decision is a step of its own,
// with the name: it is stored before the first of the steps begins, and stays
// as it is, whatever becomes of the state, the program and its decide. When
// what was done is undone, so are those of the steps that were done.
//
// The steps may be all but a Pivot: where it stands must not depend on a run.
func When[S proto.Message](name string, decide func(state S) bool, steps ...Step[S]) Step[S] {
	st := newStep[S](name, kindWhen)
	st.s.noUndo = true
	if decide != nil {
		st.s.decide = func(m proto.Message) bool { return decide(m.(S)) }
	}
	return st.needs(decide != nil).holds(steps)
}

// Each takes the steps for each item, one item after the other. The items are
// asked for once, in a step of its own with the name, and stored: they stay as
// they are. In the steps' functions [Item] tells which it is, and the [Key] has
// it: "<saga>/<run>/<step>/<item>". Each item is undone by itself, the last
// first, with the state as it then is.
//
// An item is up to 64 printable ASCII characters without space, comma, slash,
// "#" and "~", and is there once; there are at most [MaxItems]. Anything else
// is a refusal. The steps are Do, DoTx, Then or ThenTx.
func Each[S proto.Message](name string, items func(state S) []string, steps ...Step[S]) Step[S] {
	st := newStep[S](name, kindEach)
	st.s.noUndo = true
	if items != nil {
		st.s.items = func(m proto.Message) []string { return items(m.(S)) }
	}
	return st.needs(items != nil).holds(steps)
}

type itemKey struct{}

// Item returns the item of the [Each] that ctx belongs to, "" outside of one.
func Item(ctx context.Context) string {
	item, _ := ctx.Value(itemKey{}).(string)
	return item
}

// CallItem is [Call] for a step of an [Each]: build and absorb get the item too.
func CallItem[S proto.Message, Req, Res any](
	method func(ctx context.Context, req Req, opts ...grpc.CallOption) (Res, error),
	build func(state S, item string) Req,
	absorb ...func(state S, item string, res Res),
) func(ctx context.Context, state S) error {
	return func(ctx context.Context, state S) error {
		item := Item(ctx)
		res, err := method(ctx, build(state, item))
		if err != nil {
			return err
		}
		for _, f := range absorb {
			f(state, item, res)
		}
		return nil
	}
}

// holds puts the steps into a When or an Each.
func (st Step[S]) holds(steps []Step[S]) Step[S] {
	st.s.steps = make([]*step, len(steps))
	for i := range steps {
		inner := steps[i].s
		st.s.steps[i] = &inner
		allowed := inner.kind == kindDo || inner.kind == kindThen
		if st.s.kind == kindWhen {
			allowed = inner.kind != kindPivot && inner.kind != kindEnd && inner.kind != kindOnStep && inner.kind != kindDeadline
		}
		st = st.want(allowed, "a %v cannot be in %v", inner.kind, st.s.kind)
	}
	return st.want(len(steps) > 0, "%v needs steps", st.s.kind)
}

// place is a step at its place in a run: of an Each, for one item.
type place struct {
	*step
	item string
}

// path is the name of a place: "step" or "step/item".
func (p place) path() string {
	if p.item == "" {
		return p.name
	}
	return p.name + "/" + p.item
}

// choices is what the Whens and Eaches of a run have decided, by their names.
type choices struct {
	When map[string]bool     `json:"when,omitempty"`
	Each map[string][]string `json:"each,omitempty"`
}

func decodeChoices(s string) (c choices, err error) {
	if s != "" {
		err = json.Unmarshal([]byte(s), &c)
	}
	if err != nil {
		return c, fmt.Errorf("decode the decisions of the run: %w", err)
	}
	return c, nil
}

// plan returns the steps of a run as far as they are decided, in order.
func (d *definition) plan(stored string) ([]place, error) {
	if !d.branches {
		return d.plain, nil
	}
	c, err := decodeChoices(stored)
	if err != nil {
		return nil, err
	}
	return expand(nil, d.roots, c), nil
}

func expand(places []place, steps []*step, c choices) []place {
	for _, s := range steps {
		places = append(places, place{step: s})
		if s.kind == kindWhen && c.When[s.name] {
			places = expand(places, s.steps, c)
		}
		if s.kind != kindEach {
			continue
		}
		for _, item := range c.Each[s.name] {
			for _, inner := range s.steps {
				places = append(places, place{inner, item})
			}
		}
	}
	return places
}

// after returns the place that follows the path; its step is nil at the end.
func (d *definition) after(path, stored string) (place, error) {
	places, err := d.plan(stored)
	if err != nil {
		return place{}, err
	}
	i := slices.IndexFunc(places, func(p place) bool { return p.path() == path })
	if i < 0 {
		return place{}, fmt.Errorf("the program has no step %q in saga %q", path, d.name)
	}
	if i+1 < len(places) {
		return places[i+1], nil
	}
	return place{}, nil
}

// choose runs the decision of a When or an Each and returns the run's decisions
// with it.
func (s *step) choose(stored string, state proto.Message) (string, error) {
	c, err := decodeChoices(stored)
	if err != nil {
		return "", err
	}
	if s.kind == kindWhen {
		if c.When == nil {
			c.When = map[string]bool{}
		}
		c.When[s.name] = s.decide(state)
	} else {
		items := s.items(state)
		if err := checkItems(items); err != nil {
			return "", fmt.Errorf("the items of %s: %w", s.name, err)
		}
		if c.Each == nil {
			c.Each = map[string][]string{}
		}
		c.Each[s.name] = items
	}
	b, err := json.Marshal(c)
	return string(b), err
}

// checkItems returns what keeps the items from being parts of keys.
func checkItems(items []string) error {
	refuse := func(format string, args ...any) error {
		return fault.New(codes.InvalidArgument, "SAGA_ITEMS", format, args...)
	}
	if len(items) > MaxItems {
		return refuse("there are %d items, more than %d", len(items), MaxItems)
	}
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		if len(item) == 0 || len(item) > 64 || item == "undo" {
			return refuse("%.80q is no item: it must have 1 to 64 characters and not be %q", item, "undo")
		}
		for i := range len(item) {
			if c := item[i]; c <= ' ' || c > '~' || c == ',' || c == '/' || c == '#' || c == '~' {
				return refuse("%q is no item: it must be printable ASCII without space, comma, slash, %q and %q", item, "#", "~")
			}
		}
		if seen[item] {
			return refuse("the item %q is there twice", item)
		}
		seen[item] = true
	}
	return nil
}
