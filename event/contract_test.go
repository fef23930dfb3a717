package event_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/event/internal/eventpb"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

func nothing[M proto.Message](context.Context, *store.Tx, M) error { return nil }

func TestABadDeclarationFailsTheStartByName(t *testing.T) {
	for name, c := range map[string]struct {
		declare func(s *service.Setup)
		want    string
	}{
		"a message that is no event":          {func(s *service.Setup) { event.Publishes[*eventpb.Plain](s) }, "argosy.event.test.v1.Plain is not an event"},
		"consuming what is no event":          {func(s *service.Setup) { event.Consume(s, nothing[*eventpb.Plain]) }, "argosy.event.test.v1.Plain is not an event"},
		"an event without a key":              {func(s *service.Setup) { event.Publishes[*eventpb.Keyless](s) }, "(argosy.v1.event).key is missing"},
		"a key that is no field":              {func(s *service.Setup) { event.Publishes[*eventpb.Lost](s) }, `names "nowhere", which is no field`},
		"a key that is a list":                {func(s *service.Setup) { event.Publishes[*eventpb.Listed](s) }, `"ids", which is neither a string nor an integer`},
		"a topic that no broker takes":        {func(s *service.Setup) { event.Publishes[*eventpb.Spaced](s) }, `topic "a topic"`},
		"a message type that is an interface": {func(s *service.Setup) { event.Publishes[proto.Message](s) }, "is an interface"},
		"two consumers of one message": {func(s *service.Setup) {
			event.Consume(s, nothing[*eventpb.Placed])
			event.Consume(s, nothing[*eventpb.Placed])
		}, "event.Named"},
		"a name that is none":    {func(s *service.Setup) { event.Consume(s, nothing[*eventpb.Placed], event.Named("a b")) }, `name "a b"`},
		"attempts that are none": {func(s *service.Setup) { event.Consume(s, nothing[*eventpb.Placed], event.MaxAttempts(0)) }, "must be positive"},
	} {
		t.Run(name, func(t *testing.T) {
			s := service.New("shop", service.Options{})
			c.declare(s)
			if err := s.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, which does not say %q", err, c.want)
			}
		})
	}
}

func TestPublishersAndConsumersAreEdgesOfTheGraph(t *testing.T) {
	s := service.New("shop", service.Options{})
	event.Publishes[*eventpb.Placed](s)
	event.Consume(s, nothing[*eventpb.Counted])
	want := map[service.Edge]bool{
		{Kind: service.NeedsBroker}: true,
		{Kind: service.Publishes, Name: "argosy.event.test.v1.Placed", Message: "argosy.event.test.v1.Placed"}: true,
		{Kind: service.Consumes, Name: "test.shared", Message: "argosy.event.test.v1.Counted"}:                 true,
	}
	for _, e := range s.Edges() {
		delete(want, e)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}
