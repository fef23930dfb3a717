package rest

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// wantsEvents reads the Accept headers of a request for a stream: true for
// server-sent events, false for NDJSON, which is taken where both are equally
// welcome. JSON by itself is taken as NDJSON.
func wantsEvents(accept []string) (bool, error) {
	if len(accept) == 0 {
		return false, nil
	}
	var events, lines, other float64
	for _, header := range accept {
		for item := range strings.SplitSeq(header, ",") {
			mt, params, _ := strings.Cut(item, ";")
			q := quality(params)
			switch strings.ToLower(strings.TrimSpace(mt)) {
			case sseType:
				events = max(events, q)
			case ndjsonType, jsonType, "application/jsonl", "application/json-seq":
				lines = max(lines, q)
			case "*/*", "application/*", "":
				other = max(other, q)
			}
		}
	}
	switch lines = max(lines, other); {
	case events == 0 && lines == 0:
		return false, fault.New(codes.InvalidArgument, fault.ReasonNotAcceptable,
			"this method answers with a stream: accept %s or %s", ndjsonType, sseType)
	default:
		return events > 0 && (events > lines || lines == other && events >= other), nil
	}
}

// quality returns the weight among the parameters of a media range.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
