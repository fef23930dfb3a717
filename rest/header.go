package rest

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/sunset"
)

// forwarded are the request headers that become metadata of the same name.
var forwarded = []struct{ header, key string }{
	{"Authorization", "authorization"},
	{"X-Api-Key", "x-api-key"},
	{"Idempotency-Key", "idempotency-key"},
	{"Traceparent", "traceparent"},
	{"Tracestate", "tracestate"},
	{"X-Request-Id", "x-request-id"},
	{"Accept-Language", "accept-language"},
	{"User-Agent", "x-forwarded-user-agent"},
}

// metadataPrefix marks the headers that a caller sends as metadata of its own.
const metadataPrefix = "Grpc-Metadata-"

// returned are the headers that a handler may set on the response with
// grpc.SetHeader. Others stay inside: they may say what is not for callers.
var returned = []struct{ key, header string }{
	{"cache-control", "Cache-Control"},
	{"content-disposition", "Content-Disposition"},
	{"content-language", "Content-Language"},
	{"etag", "Etag"},
	{"last-modified", "Last-Modified"},
	{"location", "Location"},
	{"set-cookie", "Set-Cookie"},
	{"vary", "Vary"},
	{"x-request-id", "X-Request-Id"},
}

// originKey is the metadata that names the address of the client, for quotas
// of callers who have not signed in: rpc.OriginHeader.
const originKey = "argosy-origin"

// degradedKey is the metadata that marks an answer as degraded,
// rpc.DegradedHeader, and degradedHeader the header that does.
const (
	degradedKey    = "argosy-degraded"
	degradedHeader = "Argosy-Degraded"
)

// outgoing returns ctx with the metadata that the request's headers become.
func outgoing(ctx context.Context, remote string, h http.Header) (context.Context, error) {
	md := make(metadata.MD, 5)
	if host, _, err := net.SplitHostPort(remote); err == nil {
		md[originKey] = []string{host}
	}
	for _, f := range forwarded {
		v := h[f.header]
		if len(v) == 0 {
			continue
		}
		for _, one := range v {
			if !isPrintable(one) {
				return nil, fault.Invalid(f.header, "holds characters other than printable ASCII")
			}
		}
		md[f.key] = v
	}
	for name, values := range h {
		if len(name) <= len(metadataPrefix) || name[:len(metadataPrefix)] != metadataPrefix {
			continue
		}
		key := strings.ToLower(name[len(metadataPrefix):])
		if isReserved(key) || !isKey(key) {
			return nil, fault.Invalid(clip(name), "this metadata cannot be set from outside")
		}
		for _, v := range values {
			if strings.HasSuffix(key, "-bin") {
				b, err := parseBytes(v)
				if err != nil {
					return nil, fault.Invalid(name, "%v", err)
				}
				v = string(b)
			} else if !isPrintable(v) {
				return nil, fault.Invalid(name, "holds characters other than printable ASCII")
			}
			md.Append(key, v)
		}
	}
	return metadata.NewOutgoingContext(ctx, md), nil
}

// isReserved reports whether metadata of that name belongs to the transport, to
// Argosy, or to a header with a name of its own.
func isReserved(key string) bool {
	for _, f := range forwarded {
		if f.key == key {
			return true
		}
	}
	switch key {
	case "content-type", "te", "user-agent", "host", "connection":
		return true
	}
	return strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "argosy-") || strings.HasPrefix(key, "x-argosy-")
}

// isPrintable reports whether gRPC can carry the value as text.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isKey reports whether gRPC can carry metadata of that name.
func isKey(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('a' > c || c > 'z') && ('0' > c || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

// copyBack sets the response headers that the handler asked for.
func copyBack(h http.Header, md metadata.MD) {
	if len(md) == 0 {
		return
	}
	for _, r := range returned {
		if v := md[r.key]; len(v) > 0 {
			h[r.header] = v
		}
	}
	for _, v := range md["link"] { // beside those of the contract, which a service may repeat
		if !slices.Contains(h["Link"], v) {
			h.Add("Link", v)
		}
	}
}

// announce says that the method goes away.
func announce(h http.Header, n *sunset.Notice) {
	h.Set("Deprecation", n.Deprecation)
	if n.Sunset != "" {
		h.Set("Sunset", n.Sunset)
	}
	for _, l := range n.Links {
		h.Add("Link", l)
	}
}

// copyMark passes on that an answer is degraded, with the methods for which a
// fallback answered.
func copyMark(h http.Header, name string, trailer metadata.MD) {
	if methods := trailer[degradedKey]; len(methods) > 0 {
		h[name] = methods
	}
}
