package breaking

import (
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// uses says who uses a message or an enum: in requests, in replies, in events.
type uses map[protoreflect.FullName]*use

type use struct {
	by   []string
	gone bool // a method whose sunset has passed used it
}

// usesOf finds who uses what, through all fields.
func usesOf(c *Contracts, at time.Time) uses {
	u := uses{}
	for _, f := range c.files {
		eachMethod(f, func(m protoreflect.MethodDescriptor) {
			who := callersOf(m)
			if gone(m, at) {
				who = ""
			}
			u.spread(m.Input(), who, map[protoreflect.FullName]bool{})
			u.spread(m.Output(), who, map[protoreflect.FullName]bool{})
		})
		u.events(f.Messages())
	}
	return u
}

func (u uses) events(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		m := list.Get(i)
		if e := option[*argosyv1.Event](m, argosyv1.E_Event); e != nil {
			u.spread(m, "consumers of the topic "+topicOf(m, e), map[protoreflect.FullName]bool{})
		}
		u.events(m.Messages())
	}
}

// spread notes that somebody uses a message and all that is in it. Without a
// name it is a method that is gone.
func (u uses) spread(m protoreflect.MessageDescriptor, who string, seen map[protoreflect.FullName]bool) {
	if seen[m.FullName()] {
		return
	}
	seen[m.FullName()] = true
	u.note(m.FullName(), who)
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.Message() != nil {
			u.spread(f.Message(), who, seen)
		}
		if f.Enum() != nil {
			u.note(f.Enum().FullName(), who)
		}
	}
}

func (u uses) note(name protoreflect.FullName, who string) {
	if u[name] == nil {
		u[name] = &use{}
	}
	if who == "" {
		u[name].gone = true
	} else if !slices.Contains(u[name].by, who) {
		u[name].by = append(u[name].by, who)
	}
}

// of returns who uses it.
func (u uses) of(name protoreflect.FullName) []string {
	if u[name] == nil {
		return nil
	}
	return u[name].by
}

// onlyGone reports whether nothing used it but methods that may go.
func (u uses) onlyGone(name protoreflect.FullName) bool {
	return u[name] != nil && u[name].gone && len(u[name].by) == 0
}

// gone reports whether a method's callers were told that it may be gone by then.
func gone(m protoreflect.MethodDescriptor, at time.Time) bool {
	d := option[*argosyv1.Deprecation](m, argosyv1.E_Deprecation)
	sunset, err := time.Parse(time.DateOnly, d.GetSunset())
	return err == nil && !at.Before(sunset)
}
