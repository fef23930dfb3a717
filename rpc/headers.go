package rpc

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/argosy-go/argosy/fault"
)

var errHeaders = fault.New(codes.ResourceExhausted, fault.ReasonHeadersTooLarge,
	"the metadata is larger than the %d bytes that are taken here", maxHeaderBytes).Refused()

// listBytes returns the size of metadata as HTTP/2 counts that of headers: the
// bytes of names and values, and 32 for each (RFC 9113, section 6.5.2).
func listBytes(md metadata.MD) int {
	n := 0
	for name, values := range md {
		for _, v := range values {
			n += len(name) + len(v) + 32
		}
	}
	return n
}

// tooManyHeaders refuses a call whose metadata is too large, before anything of
// it is kept. h is nil for a method that is not there.
func (h *handler) tooManyHeaders() error {
	e := *errHeaders
	if h != nil {
		e.Service = h.owner
		h.m.observe(&e, 0)
	}
	return e.GRPCStatus().Err()
}
