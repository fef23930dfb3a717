package fault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

// Error is an error with a code. The zero value is not useful: make one with
// [New]. An Error is immutable once it has been returned; the With methods
// return changed copies, so that a package-level Error can be refined safely
// from many goroutines.
type Error struct {
	// Code is the canonical gRPC code; never codes.OK.
	Code codes.Code
	// Reason names the condition in UPPER_SNAKE_CASE, stable across releases,
	// for programs (google.rpc.ErrorInfo.reason). May be empty.
	Reason string
	// Message is for people. It is shown to callers, so it holds no secrets.
	Message string
	// Service is the service that raised the error (ErrorInfo.domain). Empty
	// until the server chain of that service fills it in.
	Service string
	// Metadata are further facts for programs (ErrorInfo.metadata).
	Metadata map[string]string
	// Violations lists what is wrong with the request, by field.
	Violations []Violation
	// RetryAfter tells when another attempt may succeed (RetryInfo). Zero: no hint.
	RetryAfter time.Duration
	// NotDone says that the operation certainly had no effect: it was refused
	// before it began (breaker open, load shed, deadline expired in a queue).
	// Without it a caller must treat a transport error as unknown.
	NotDone bool

	cause error
}

// Violation is one thing that is wrong with a request.
type Violation struct {
	// Field is the path of the field, as in "lines[2].quantity".
	Field string
	// Description says what is wrong and what would be right.
	Description string
}

// New returns an error whose message is formatted as by [fmt.Sprintf]. A code
// of codes.OK is taken as codes.Unknown: an error is never a success.
func New(code codes.Code, reason, format string, args ...any) *Error {
	if code == codes.OK {
		code = codes.Unknown
	}
	return &Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Invalid returns an INVALID_ARGUMENT error for one bad field.
func Invalid(field, format string, args ...any) *Error {
	d := fmt.Sprintf(format, args...)
	e := New(codes.InvalidArgument, "INVALID_REQUEST", "%s: %s", field, d)
	e.Violations = []Violation{{Field: field, Description: d}}
	return e
}

// Error returns the code, the reason and the message, and the cause where
// there is one: it is for logs, never for callers.
func (e *Error) Error() string {
	s := e.Code.String()
	if e.Reason != "" {
		s += " " + e.Reason
	}
	if e.Service != "" {
		s = e.Service + ": " + s
	}
	s += ": " + e.Message
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is an Error of the same code and reason, so that
// errors.Is(err, ErrSoldOut) holds for every error made from ErrSoldOut, also
// when it came over the network.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Reason == e.Reason
}

// Wrap returns a copy whose cause is err.
func (e *Error) Wrap(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// WithMessage returns a copy with another message.
func (e *Error) WithMessage(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// WithRetryAfter returns a copy that tells when to try again.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// WithMetadata returns a copy with one more fact.
func (e *Error) WithMetadata(key, value string) *Error {
	c := *e
	c.Metadata = make(map[string]string, len(e.Metadata)+1)
	for k, v := range e.Metadata {
		c.Metadata[k] = v
	}
	c.Metadata[key] = value
	return &c
}

// Refused returns a copy that certainly had no effect: see [Error.NotDone].
func (e *Error) Refused() *Error {
	c := *e
	c.NotDone = true
	return &c
}

// From returns err as an Error. A nil error is nil, an Error anywhere in the
// chain is itself, a gRPC status is decoded, a context error becomes
// DEADLINE_EXCEEDED or CANCELED, and everything else becomes INTERNAL with a
// message that gives nothing away and err as its cause.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if s, ok := statusOf(err); ok {
		e = FromStatus(s)
		e.cause = err
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return New(codes.DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline passed before the operation ended").Wrap(err)
	case errors.Is(err, context.Canceled):
		return New(codes.Canceled, "CANCELLED", "the caller went away").Wrap(err)
	}
	return New(codes.Internal, "INTERNAL", "internal error").Wrap(err)
}

// CodeOf returns the code of err as [From] sees it, and codes.OK for nil.
func CodeOf(err error) codes.Code {
	if e := From(err); e != nil {
		return e.Code
	}
	return codes.OK
}
