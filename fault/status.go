package fault

import (
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// notDoneKey marks, in ErrorInfo.metadata, an error that had no effect.
const notDoneKey = "argosy_not_done"

// GRPCStatus returns the error as a google.rpc.Status with ErrorInfo,
// RetryInfo and BadRequest details. It is what grpc-go sends when a handler
// returns an [Error]. The cause is not in it.
func (e *Error) GRPCStatus() *status.Status {
	s := status.New(e.Code, e.Message)
	var details []protoadapt.MessageV1
	if e.Reason != "" || e.Service != "" || len(e.Metadata) > 0 || e.NotDone {
		info := &errdetails.ErrorInfo{Reason: e.Reason, Domain: e.Service}
		if len(e.Metadata) > 0 || e.NotDone {
			info.Metadata = make(map[string]string, len(e.Metadata)+1)
			for k, v := range e.Metadata {
				info.Metadata[k] = v
			}
			if e.NotDone {
				info.Metadata[notDoneKey] = "true"
			}
		}
		details = append(details, info)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description})
		}
		details = append(details, bad)
	}
	if len(details) == 0 {
		return s
	}
	with, err := s.WithDetails(details...)
	if err != nil { // a detail that cannot be marshalled: better the bare status than none
		return s
	}
	return with
}

// FromStatus is the inverse of [Error.GRPCStatus]. Details of other kinds are
// dropped. A status of OK gives nil.
func FromStatus(s *status.Status) *Error {
	if s.Code() == codes.OK {
		return nil
	}
	e := &Error{Code: s.Code(), Message: s.Message()}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Service = d.Reason, d.Domain
			for k, v := range d.Metadata {
				if k == notDoneKey {
					e.NotDone = v == "true"
					continue
				}
				if e.Metadata == nil {
					e.Metadata = map[string]string{}
				}
				e.Metadata[k] = v
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = max(d.GetRetryDelay().AsDuration(), time.Duration(0))
		case *errdetails.BadRequest:
			for _, v := range d.FieldViolations {
				e.Violations = append(e.Violations, Violation{Field: v.Field, Description: v.Description})
			}
		}
	}
	return e
}

// statusOf finds a gRPC status in err's chain.
func statusOf(err error) (*status.Status, bool) {
	var g interface{ GRPCStatus() *status.Status }
	if errors.As(err, &g) {
		if s := g.GRPCStatus(); s != nil && s.Code() != codes.OK {
			return s, true
		}
	}
	return nil, false
}
