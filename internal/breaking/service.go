package breaking

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// service compares the methods of a service. Its routes are compared apart.
func (c *comparison) service(was protoreflect.ServiceDescriptor) {
	now, there := find[protoreflect.ServiceDescriptor](c.now, was.FullName())
	for i := range was.Methods().Len() {
		m := was.Methods().Get(i)
		if gone(m, c.at) {
			continue
		}
		callers := []string{callersOf(m)}
		if !there {
			c.report(m, callers, newMethod, "the service %s is gone", was.Name())
			continue
		}
		g := now.Methods().ByName(m.Name())
		if g == nil {
			c.report(m, callers, "announce its end by (argosy.v1.deprecation), and remove it after the sunset", "the RPC is gone")
			continue
		}
		for _, what := range c.method(m, g) {
			c.report(m, callers, newMethod, "%s", what)
		}
	}
}

// method says how a method is not what its callers rely on.
func (c *comparison) method(was, now protoreflect.MethodDescriptor) []string {
	var found []string
	say := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if a, b := was.Input().FullName(), now.Input().FullName(); a != b {
		say("it takes %s now, and took %s", b, a)
	}
	if a, b := was.Output().FullName(), now.Output().FullName(); a != b {
		say("it returns %s now, and returned %s", b, a)
	}
	if was.IsStreamingClient() != now.IsStreamingClient() || was.IsStreamingServer() != now.IsStreamingServer() {
		say("it is %s now, and was %s", streaming(now), streaming(was))
	}
	if a, b := retries(was), retries(now); b < a {
		say("callers retry it, as %s said, and now nothing says that they may", a)
	}
	if keyOf(was) != argosyv1.Idempotency_KEY_REQUIRED && keyOf(now) == argosyv1.Idempotency_KEY_REQUIRED {
		say("it refuses calls without an idempotency key now")
	}
	return append(found, access(was, now)...)
}

func streaming(m protoreflect.MethodDescriptor) string {
	switch {
	case m.IsStreamingClient() && m.IsStreamingServer():
		return "a stream both ways"
	case m.IsStreamingClient():
		return "a stream of requests"
	case m.IsStreamingServer():
		return "a stream of replies"
	}
	return "one request and one reply"
}

// safety is how freely a method may be sent twice.
type safety int

func (s safety) String() string {
	return [...]string{"nothing", "its idempotency key", "idempotency_level"}[s]
}

// retries returns why callers retry a method.
func retries(m protoreflect.MethodDescriptor) safety {
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok && o.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN {
		return 2
	}
	if keyOf(m) != argosyv1.Idempotency_IDEMPOTENCY_UNSPECIFIED {
		return 1
	}
	return 0
}

func keyOf(m protoreflect.MethodDescriptor) argosyv1.Idempotency {
	return option[argosyv1.Idempotency](m, argosyv1.E_Idempotency)
}

// access says who may not call a method any more.
func access(was, now protoreflect.MethodDescriptor) []string {
	a, b := option[*argosyv1.Access](was, argosyv1.E_Access), option[*argosyv1.Access](now, argosyv1.E_Access)
	switch {
	case b.GetPublic():
		return nil
	case a.GetPublic():
		return []string{"it was public, and callers have to sign in now"}
	case len(b.GetRoles()) == 0:
		return nil
	case len(a.GetRoles()) == 0:
		return []string{fmt.Sprintf("anybody who had signed in might call it, and now only the roles %s", strings.Join(b.GetRoles(), ", "))}
	}
	var lost []string
	for _, role := range a.GetRoles() {
		if !slices.Contains(b.GetRoles(), role) {
			lost = append(lost, fmt.Sprintf("the role %s may not call it any more", role))
		}
	}
	return lost
}

// event compares what a message says of itself as an event.
func (c *comparison) event(was, now protoreflect.MessageDescriptor) {
	a, b := option[*argosyv1.Event](was, argosyv1.E_Event), option[*argosyv1.Event](now, argosyv1.E_Event)
	if a == nil {
		return
	}
	whom := []string{"consumers of the topic " + topicOf(was, a)}
	switch {
	case b == nil:
		c.report(was, whom, keep, "the message is no event any more")
	case topicOf(was, a) != topicOf(now, b):
		c.report(was, whom, "publish the new topic beside the old one until nobody consumes it", "its topic is %s now", topicOf(now, b))
	case a.GetKey() != b.GetKey():
		c.report(was, whom, "publish another message with the new key", "its key is %s now, and was %s: events of one %s come out of order", b.GetKey(), a.GetKey(), a.GetKey())
	}
}

func topicOf(m protoreflect.MessageDescriptor, e *argosyv1.Event) string {
	if e.GetTopic() != "" {
		return e.GetTopic()
	}
	return string(m.FullName())
}
