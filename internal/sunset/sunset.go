// Package sunset reads how a contract announces the end of a method:
//
//	n, err := sunset.Of(method) // nil: the method stays
//	header.Set("Deprecation", n.Deprecation)
package sunset

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

// Notice is the announcement that a method goes away. It is not changed.
type Notice struct {
	// Since and Day are the days of deprecation and sunset, at midnight UTC. Day
	// is zero when none was set.
	Since, Day time.Time
	// Deprecation, Sunset and Links are the values of the headers of RFC 9745,
	// RFC 8594 and RFC 8288. Sunset is "" and Links empty when the contract does
	// not say.
	Deprecation, Sunset string
	Links               []string
}

// Of returns the notice of a method, nil when it stays, and an error when what
// the contract says cannot be announced.
func Of(m protoreflect.MethodDescriptor) (*Notice, error) {
	opts, ok := m.Options().(*descriptorpb.MethodOptions)
	if !ok || !proto.HasExtension(opts, argosyv1.E_Deprecation) {
		return nil, nil
	}
	d, ok := proto.GetExtension(opts, argosyv1.E_Deprecation).(*argosyv1.Deprecation)
	if !ok {
		return nil, fmt.Errorf("deprecation: it is a %T", proto.GetExtension(opts, argosyv1.E_Deprecation))
	}
	return read(d)
}

func read(d *argosyv1.Deprecation) (*Notice, error) {
	since, err := time.Parse(time.DateOnly, d.GetSince())
	if err != nil {
		return nil, fmt.Errorf("deprecation.since: %w", err)
	}
	n := &Notice{Since: since, Deprecation: fmt.Sprintf("@%d", since.Unix())}
	if d.GetSunset() != "" {
		if n.Day, err = time.Parse(time.DateOnly, d.GetSunset()); err != nil {
			return nil, fmt.Errorf("deprecation.sunset: %w", err)
		}
		if n.Day.Before(since) {
			return nil, errors.New("deprecation.sunset: it is before deprecation.since")
		}
		n.Sunset = n.Day.Format(http.TimeFormat)
	}
	for _, l := range []struct{ field, relation, target string }{
		{"guide", "deprecation", d.GetGuide()},
		{"successor", "successor-version", d.GetSuccessor()},
	} {
		if l.target == "" {
			continue
		}
		u, err := url.Parse(l.target)
		if err != nil {
			return nil, fmt.Errorf("deprecation.%s: %w", l.field, err)
		}
		n.Links = append(n.Links, fmt.Sprintf(`<%s>; rel="%s"`, u, l.relation)) // u escapes what would end the target
	}
	return n, nil
}
