package rpc

import (
	"maps"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/guard"
)

// Kinds of callers that are no service of the fleet; a service is a kind of its
// own, see [CallerService].
const (
	// CallerUser is a caller with a token: a person, or a foreign program.
	CallerUser = "user"
	// CallerAnonymous is an address that calls come from without a token.
	CallerAnonymous = "anonymous"
)

// CallerService returns the kind of caller that a service of the fleet is.
func CallerService(name string) string { return "service/" + name }

var errQuota = fault.New(codes.ResourceExhausted, fault.ReasonQuota, "the caller makes more calls than its quota allows").Refused()

// quotas hold each caller to its share.
type quotas struct {
	all     *guard.Rate            // nil: no quota
	kinds   map[string]*guard.Rate // in place of all
	mu      *sync.Mutex            // of refused; taken when a call is refused
	refused map[string]uint64      // by kind of caller: services are few, and users are counted as one
}

func newQuotas(all guard.RateConfig, kinds map[string]guard.RateConfig) quotas {
	q := quotas{all: guard.NewRate(all), mu: &sync.Mutex{}, refused: map[string]uint64{}}
	if len(kinds) > 0 {
		q.kinds = make(map[string]*guard.Rate, len(kinds))
	}
	for kind, c := range kinds {
		q.kinds[kind] = guard.NewRate(c)
	}
	return q
}

// kindOf returns the kind of a caller.
func kindOf(p auth.Principal, known bool) string {
	switch {
	case !known:
		return CallerAnonymous
	case p.Service != "":
		return CallerService(p.Service)
	}
	return CallerUser
}

// quota charges the call to its caller: to whom it is from, or, when nobody
// knows, to the address that it comes from.
func (s *Server) quota(c *served, p auth.Principal, known bool) error {
	rate := s.quotas.all
	if s.quotas.kinds != nil {
		if own, ok := s.quotas.kinds[kindOf(p, known)]; ok {
			rate = own
		}
	}
	if rate == nil {
		return nil
	}
	caller := p.Subject
	if !known {
		caller = "@" + origin(c)
	}
	if wait := rate.Take(caller); wait > 0 {
		s.quotas.refuse(kindOf(p, known))
		return errQuota.WithRetryAfter(wait)
	}
	return nil
}

func (q *quotas) refuse(kind string) {
	q.mu.Lock()
	q.refused[kind]++
	q.mu.Unlock()
}

// refusals returns how many calls of each kind of caller were over a quota.
func (q *quotas) refusals() map[string]uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.refused)
}
