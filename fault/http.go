package fault

import (
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// httpOf is the table from codes to HTTP, that of google.rpc.Code. A reason
// may say it more precisely: see httpOfReason.
var httpOf = [...]int{
	codes.OK:                 http.StatusOK,
	codes.Canceled:           499, // client closed request, as nginx and google.rpc.Code have it
	codes.Unknown:            http.StatusInternalServerError,
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
	codes.NotFound:           http.StatusNotFound,
	codes.AlreadyExists:      http.StatusConflict,
	codes.PermissionDenied:   http.StatusForbidden,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.FailedPrecondition: http.StatusBadRequest,
	codes.Aborted:            http.StatusConflict,
	codes.OutOfRange:         http.StatusBadRequest,
	codes.Unimplemented:      http.StatusNotImplemented,
	codes.Internal:           http.StatusInternalServerError,
	codes.Unavailable:        http.StatusServiceUnavailable,
	codes.DataLoss:           http.StatusInternalServerError,
	codes.Unauthenticated:    http.StatusUnauthorized,
}

// Reasons of the framework itself, each with the HTTP status that says it best.
const (
	// ReasonKeyReused: the idempotency key came with another payload before.
	ReasonKeyReused = "IDEMPOTENCY_KEY_REUSED"
	// ReasonKeyMissing: the method requires an idempotency key.
	ReasonKeyMissing = "IDEMPOTENCY_KEY_MISSING"
	// ReasonInFlight: a copy of the request is still being worked on.
	ReasonInFlight = "REQUEST_IN_FLIGHT"
	// ReasonTooLarge: the body is over the limit.
	ReasonTooLarge = "PAYLOAD_TOO_LARGE"
	// ReasonMediaType: the content type is not one that the method reads.
	ReasonMediaType = "UNSUPPORTED_MEDIA_TYPE"
	// ReasonMethodNotAllowed: the path exists, but not with this HTTP method.
	ReasonMethodNotAllowed = "METHOD_NOT_ALLOWED"
	// ReasonStale: the ETag or version that the caller gave is not the current one.
	ReasonStale = "STALE"
	// ReasonNotAcceptable: no representation that the caller accepts.
	ReasonNotAcceptable = "NOT_ACCEPTABLE"
	// ReasonOverloaded: the server has more to do than it can; the call was not begun.
	ReasonOverloaded = "OVERLOADED"
	// ReasonHeadersTooLarge: the headers, or the metadata, are over the limit.
	ReasonHeadersTooLarge = "HEADERS_TOO_LARGE"
	// ReasonDraining: the server goes away, and others take its place.
	ReasonDraining = "DRAINING"
	// ReasonQuota: the caller has used up its quota; the call was not begun.
	ReasonQuota = "QUOTA_EXCEEDED"
)

var httpOfReason = map[string]int{
	ReasonKeyReused:        http.StatusUnprocessableEntity,
	ReasonInFlight:         http.StatusConflict,
	ReasonTooLarge:         http.StatusRequestEntityTooLarge,
	ReasonMediaType:        http.StatusUnsupportedMediaType,
	ReasonHeadersTooLarge:  http.StatusRequestHeaderFieldsTooLarge,
	ReasonMethodNotAllowed: http.StatusMethodNotAllowed,
	ReasonStale:            http.StatusPreconditionFailed,
	ReasonNotAcceptable:    http.StatusNotAcceptable,
}

// HTTPStatus returns the HTTP status of the error. FAILED_PRECONDITION is 400,
// as google.rpc.Code has it.
func (e *Error) HTTPStatus() int {
	if s, ok := httpOfReason[e.Reason]; ok {
		return s
	}
	if int(e.Code) < len(httpOf) {
		return httpOf[e.Code]
	}
	return http.StatusInternalServerError
}

// Problem is the JSON of an error on HTTP: a problem document (RFC 9457) with
// Argosy's members beside the standard ones.
type Problem struct {
	Type       string             `json:"type"` // "about:blank", or "urn:argosy:reason:<reason>"
	Title      string             `json:"title"`
	Status     int                `json:"status"`
	Detail     string             `json:"detail,omitempty"`
	Code       string             `json:"code"` // the gRPC code, in UPPER_SNAKE_CASE
	Reason     string             `json:"reason,omitempty"`
	Service    string             `json:"service,omitempty"`
	Metadata   map[string]string  `json:"metadata,omitempty"`
	Violations []ProblemViolation `json:"violations,omitempty"`
	// RetryAfterMs is the retry hint in milliseconds; the Retry-After header
	// carries it rounded up to seconds.
	RetryAfterMs int64 `json:"retryAfterMs,omitempty"`
	NotDone      bool  `json:"notDone,omitempty"`
}

// ProblemViolation is a [Violation] in a [Problem].
type ProblemViolation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// ProblemType is the media type of a problem document.
const ProblemType = "application/problem+json"

const reasonURN = "urn:argosy:reason:"

// Problem returns the error as a problem document.
func (e *Error) Problem() Problem {
	p := Problem{
		Type: "about:blank", Status: e.HTTPStatus(), Detail: e.Message, Code: codeName(e.Code),
		Reason: e.Reason, Service: e.Service, Metadata: outward(e.Metadata), NotDone: e.NotDone,
		RetryAfterMs: e.RetryAfter.Milliseconds(),
	}
	if e.Reason != "" {
		p.Type = reasonURN + e.Reason
	}
	if p.Title = http.StatusText(p.Status); p.Title == "" {
		p.Title = "Client Closed Request"
	}
	for _, v := range e.Violations {
		p.Violations = append(p.Violations, ProblemViolation(v))
	}
	return p
}

// ownMetadata begins the keys that the layers of a fleet tell each other by.
const ownMetadata = "argosy_"

// outward returns the metadata without what is nothing for callers outside.
func outward(metadata map[string]string) map[string]string {
	var own bool
	for k := range metadata {
		own = own || strings.HasPrefix(k, ownMetadata)
	}
	if !own {
		return metadata
	}
	metadata = maps.Clone(metadata)
	maps.DeleteFunc(metadata, func(k, _ string) bool { return strings.HasPrefix(k, ownMetadata) })
	return metadata
}

// FromProblem is the inverse of [Error.Problem].
func FromProblem(p Problem) *Error {
	e := &Error{
		Code: codeOf(p.Code, p.Status), Reason: p.Reason, Message: p.Detail, Service: p.Service,
		Metadata: p.Metadata, RetryAfter: time.Duration(p.RetryAfterMs) * time.Millisecond, NotDone: p.NotDone,
	}
	for _, v := range p.Violations {
		e.Violations = append(e.Violations, Violation(v))
	}
	return e
}

// WriteHTTP answers w with err as a problem document, with Retry-After where
// there is a hint and WWW-Authenticate with a 401. The body is complete in one
// write, so that the caller may not have written before.
func WriteHTTP(w http.ResponseWriter, err error) {
	e := From(err)
	body, merr := json.Marshal(e.Problem())
	if merr != nil {
		body = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"code":"INTERNAL"}`)
	}
	h := w.Header()
	h.Set("Content-Type", ProblemType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if e.Code == codes.Unauthenticated && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer`)
	}
	w.WriteHeader(e.HTTPStatus())
	_, _ = w.Write(body) // the client may be gone; nobody is left to tell
}

var codeNames = [...]string{
	codes.OK: "OK", codes.Canceled: "CANCELLED", codes.Unknown: "UNKNOWN", codes.InvalidArgument: "INVALID_ARGUMENT",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.NotFound: "NOT_FOUND", codes.AlreadyExists: "ALREADY_EXISTS",
	codes.PermissionDenied: "PERMISSION_DENIED", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.FailedPrecondition: "FAILED_PRECONDITION", codes.Aborted: "ABORTED", codes.OutOfRange: "OUT_OF_RANGE",
	codes.Unimplemented: "UNIMPLEMENTED", codes.Internal: "INTERNAL", codes.Unavailable: "UNAVAILABLE",
	codes.DataLoss: "DATA_LOSS", codes.Unauthenticated: "UNAUTHENTICATED",
}

// codeName returns the name of a code as google.rpc.Code spells it.
func codeName(c codes.Code) string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "UNKNOWN"
}

// codeOf is the inverse of codeName; a name that is not one falls back on the
// HTTP status, for problem documents of other makers.
func codeOf(name string, status int) codes.Code {
	for c, n := range codeNames {
		if n == name && c != 0 {
			return codes.Code(c)
		}
	}
	for c, s := range httpOf {
		if s == status && c != 0 {
			return codes.Code(c)
		}
	}
	switch {
	case status >= 400 && status < 500:
		return codes.FailedPrecondition
	default:
		return codes.Unknown
	}
}
