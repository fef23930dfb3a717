package breaking

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Change is one thing that breaks somebody.
type Change struct {
	// File is where it was declared, from the root of the repository.
	File string `json:"file"`
	// Name is what has changed: the full name of a message, a field, an RPC, …
	Name string `json:"name"`
	// What says how it has changed.
	What string `json:"what"`
	// Whom are those that it breaks.
	Whom []string `json:"whom"`
	// Instead says what to do.
	Instead string `json:"instead"`
}

// Compare returns what in now breaks those who rely on old, by file and name.
// An RPC whose sunset has passed at that time may go, and what only it used.
func Compare(old, now *Contracts, at time.Time) []Change {
	c := &comparison{old: old, now: index(now), uses: usesOf(old, at), at: at}
	for _, f := range old.files {
		c.messages(f.Messages())
		c.enums(f.Enums())
		for i := range f.Services().Len() {
			c.service(f.Services().Get(i))
		}
	}
	c.routes()
	slices.SortStableFunc(c.found, func(a, b Change) int {
		if n := strings.Compare(a.File, b.File); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	return c.found
}

// comparison is a Compare under way.
type comparison struct {
	old   *Contracts
	now   *declared
	uses  uses
	at    time.Time
	found []Change
}

// declared finds what is declared in contracts by full name.
type declared struct {
	of  *Contracts
	all map[protoreflect.FullName]protoreflect.Descriptor
}

func index(c *Contracts) *declared {
	d := &declared{of: c, all: map[protoreflect.FullName]protoreflect.Descriptor{}}
	var messages func(protoreflect.MessageDescriptors)
	enums := func(list protoreflect.EnumDescriptors) {
		for i := range list.Len() {
			d.all[list.Get(i).FullName()] = list.Get(i)
		}
	}
	messages = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			m := list.Get(i)
			d.all[m.FullName()] = m
			messages(m.Messages())
			enums(m.Enums())
		}
	}
	for _, f := range c.files {
		messages(f.Messages())
		enums(f.Enums())
		for i := range f.Services().Len() {
			d.all[f.Services().Get(i).FullName()] = f.Services().Get(i)
		}
	}
	return d
}

// find returns what has the name now and is of the same kind.
func find[D protoreflect.Descriptor](d *declared, name protoreflect.FullName) (D, bool) {
	found, ok := d.all[name].(D)
	return found, ok
}

// report notes a change.
func (c *comparison) report(d protoreflect.Descriptor, whom []string, instead, format string, args ...any) {
	if len(whom) == 0 {
		whom = []string{"whoever reads or stores it"}
	}
	name := d.FullName()
	if v, ok := d.(protoreflect.EnumValueDescriptor); ok { // which protobuf names as a sibling of its enum
		name = v.Parent().FullName().Append(v.Name())
	}
	c.found = append(c.found, Change{File: c.old.path(d), Name: string(name), What: fmt.Sprintf(format, args...), Whom: whom, Instead: instead})
}

const (
	keep      = "keep it and mark it deprecated; add what is new beside it"
	newField  = "leave the field as it is, deprecated, and add another one under a new number"
	newMethod = "leave the method as it is, deprecated, and add another one, or a new version of the service"
)

func (c *comparison) messages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		m := list.Get(i)
		if m.IsMapEntry() {
			continue
		}
		now, there := find[protoreflect.MessageDescriptor](c.now, m.FullName())
		switch {
		case there:
			c.message(m, now)
			c.event(m, now)
		case c.uses.onlyGone(m.FullName()):
		default:
			c.report(m, c.uses.of(m.FullName()), keep, "the message is gone")
		}
		if there {
			c.messages(m.Messages())
			c.enums(m.Enums())
		}
	}
}

// message compares the fields of a message.
func (c *comparison) message(was, now protoreflect.MessageDescriptor) {
	whom := c.uses.of(was.FullName())
	for i := range was.Fields().Len() {
		f := was.Fields().Get(i)
		g := now.Fields().ByNumber(f.Number())
		if g == nil {
			if moved := now.Fields().ByName(f.Name()); moved != nil {
				c.report(f, whom, newField, "the field has moved from number %d to %d", f.Number(), moved.Number())
			} else {
				c.report(f, whom, "keep the field and mark it deprecated", "field %d is gone", f.Number())
			}
			continue
		}
		for _, what := range differs(f, g) {
			c.report(f, whom, newField, "%s", what)
		}
	}
	for i := range now.Fields().Len() {
		g := now.Fields().Get(i)
		if was.Fields().ByNumber(g.Number()) != nil {
			continue
		}
		if was.ReservedRanges().Has(g.Number()) {
			c.report(was, whom, "give the field a number that was never used", "field %s takes the number %d, which was reserved", g.Name(), g.Number())
		}
		if g.Cardinality() == protoreflect.Required {
			c.report(was, whom, "make it optional", "field %s is new and required", g.Name())
		}
	}
}

// differs says how a field is not what it was.
func differs(f, g protoreflect.FieldDescriptor) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if f.Name() != g.Name() {
		say("field %d is called %s now", f.Number(), g.Name())
	} else if f.JSONName() != g.JSONName() {
		say("the field is called %s in JSON now, and was %s", g.JSONName(), f.JSONName())
	}
	if a, b := typeOf(f), typeOf(g); a != b {
		say("the field is %s now, and was %s", b, a)
	}
	if a, b := choiceOf(f), choiceOf(g); a != b {
		switch {
		case b == "":
			say("the field has left the oneof %s", a)
		case a == "":
			say("the field has moved into the oneof %s", b)
		case f.ContainingOneof().Fields().Len() != 0:
			say("the field has moved from the oneof %s to %s", a, b)
		}
	}
	if f.Cardinality() != protoreflect.Required && g.Cardinality() == protoreflect.Required {
		say("the field is required now")
	}
	return found
}

// typeOf returns the type of a field as a contract spells it.
func typeOf(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return fmt.Sprintf("map<%s, %s>", typeOf(f.MapKey()), typeOf(f.MapValue()))
	}
	name := f.Kind().String()
	switch {
	case f.Message() != nil:
		name = string(f.Message().FullName())
	case f.Enum() != nil:
		name = string(f.Enum().FullName())
	}
	if f.IsList() {
		return "repeated " + name
	}
	return name
}

// choiceOf returns the oneof of a field; "" when it is in none. Renaming a oneof
// breaks nobody on the wire, but what is generated from it.
func choiceOf(f protoreflect.FieldDescriptor) string {
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return string(o.Name())
	}
	return ""
}

func (c *comparison) enums(list protoreflect.EnumDescriptors) {
	for i := range list.Len() {
		e := list.Get(i)
		now, there := find[protoreflect.EnumDescriptor](c.now, e.FullName())
		if !there {
			if !c.uses.onlyGone(e.FullName()) {
				c.report(e, c.uses.of(e.FullName()), keep, "the enum is gone")
			}
			continue
		}
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			switch g := now.Values().ByName(v.Name()); {
			case g == nil && now.Values().ByNumber(v.Number()) != nil:
				c.report(v, c.uses.of(e.FullName()), keep, "the value is called %s now: JSON has names", now.Values().ByNumber(v.Number()).Name())
			case g == nil:
				c.report(v, c.uses.of(e.FullName()), keep, "the value is gone")
			case g.Number() != v.Number():
				c.report(v, c.uses.of(e.FullName()), keep, "the value is %d now, and was %d", g.Number(), v.Number())
			}
		}
	}
}
