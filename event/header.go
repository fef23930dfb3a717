package event

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// The headers of CloudEvents 1.0 in binary mode, with the extensions for
// tracing and expiry.
const (
	headerSpec    = "ce-specversion"
	headerID      = "ce-id"
	headerSource  = "ce-source"
	headerType    = "ce-type"
	headerTime    = "ce-time"
	headerKey     = "ce-subject"
	headerTrace   = "ce-traceparent"
	headerExpires = "ce-expirytime"
	headerContent = "content-type"

	specVersion = "1.0"
	contentType = "application/protobuf"
)

// Meta is what travels beside the body of an event.
type Meta struct {
	// ID is unique among all events.
	ID string
	// Key is the key whose events arrive in order.
	Key string
	// Source is the publisher, as in "/order".
	Source string
	// Type is the full name of the message.
	Type string
	// Time is when the event was published, to the microsecond.
	Time time.Time
	// Expires is when the event stops being worth handling. Zero: never.
	Expires time.Time
	// Attempt counts the attempts of this consumer at this event, from 1.
	Attempt int

	trace string
}

type metaKey struct{}

// FromContext returns the Meta of the event that is being handled. It reports
// false outside of a consumer's function.
func FromContext(ctx context.Context) (Meta, bool) {
	m, ok := ctx.Value(metaKey{}).(Meta)
	return m, ok
}

func withMeta(ctx context.Context, m Meta) context.Context {
	return context.WithValue(ctx, metaKey{}, m)
}

// header returns m as CloudEvents headers.
func (m Meta) header() map[string]string {
	h := make(map[string]string, 9)
	h[headerSpec] = specVersion
	h[headerID] = m.ID
	h[headerSource] = m.Source
	h[headerType] = m.Type
	h[headerTime] = m.Time.UTC().Format(time.RFC3339Nano)
	h[headerKey] = m.Key
	h[headerContent] = contentType
	if m.trace != "" {
		h[headerTrace] = m.trace
	}
	if !m.Expires.IsZero() {
		h[headerExpires] = m.Expires.UTC().Format(time.RFC3339Nano)
	}
	return h
}

// errUndecodable marks what no further attempt can handle.
var errUndecodable = fault.New(codes.InvalidArgument, "EVENT_UNDECODABLE", "the event cannot be decoded")

// undecodable returns an errUndecodable that says why.
func undecodable(format string, args ...any) error {
	return errUndecodable.Wrap(fmt.Errorf(format, args...))
}

// decodeHeader reads CloudEvents headers. What it could read is returned also
// with an error.
func decodeHeader(h map[string]string) (Meta, error) {
	m := Meta{ID: h[headerID], Key: h[headerKey], Source: h[headerSource], Type: h[headerType], trace: h[headerTrace]}
	if v := h[headerSpec]; v != specVersion {
		return m, undecodable("%s is %q and not %q", headerSpec, v, specVersion)
	}
	for _, name := range []string{headerID, headerSource, headerType} {
		if h[name] == "" {
			return m, undecodable("%s is missing", name)
		}
	}
	if c := h[headerContent]; c != "" && !protobufContent(c) {
		return m, undecodable("%s is %q and not %q", headerContent, c, contentType)
	}
	var errTime, errExpires error
	m.Time, errTime = parseTime(h, headerTime)
	m.Expires, errExpires = parseTime(h, headerExpires)
	return m, errors.Join(errTime, errExpires)
}

func protobufContent(c string) bool {
	media, _, _ := strings.Cut(c, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case contentType, "application/x-protobuf", "application/vnd.google.protobuf":
		return true
	}
	return false
}

func parseTime(h map[string]string, name string) (time.Time, error) {
	v := h[name]
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return time.Time{}, undecodable("%s: %w", name, err)
	}
	return t.UTC(), nil
}
