package carrier

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

// Kinds of ledger entries: what was asked for.
const (
	Book     = "book"
	Cancel   = "cancel"
	Dispatch = "dispatch"
	Recall   = "recall"
)

// Outcomes of ledger entries: what came of it.
const (
	Booked     = "booked"
	Cancelled  = "cancelled"
	Dispatched = "dispatched"
	Recalled   = "recalled"
	// Nothing: accepted, and there was nothing to do.
	Nothing = "nothing"
	// Refused: 409, and nothing was done.
	Refused = "refused"
)

// State of a shipment.
type State string

// The states. A dispatched shipment becomes in transit and delivered as time
// passes.
const (
	StateBooked     State = "BOOKED"
	StateCancelled  State = "CANCELLED"
	StateDispatched State = "DISPATCHED"
	StateInTransit  State = "IN_TRANSIT"
	StateDelivered  State = "DELIVERED"
	StateRecalled   State = "RECALLED"
)

// Shipment is what the carrier knows of a reference.
type Shipment struct {
	Reference string `json:"reference"`
	State     State  `json:"state"`
	// TrackingNumber is empty when nothing was ever booked.
	TrackingNumber string `json:"trackingNumber,omitempty"`
	// Dispatches counts the times the goods were handed over: 0 or 1.
	Dispatches int `json:"dispatches"`
	due        []time.Time
	recalled   time.Time
}

// at is the shipment as it is at an instant.
func (s Shipment) at(now time.Time) Shipment {
	if s.State == StateDispatched && len(s.due) == 2 {
		switch {
		case !now.Before(s.due[1]):
			s.State = StateDelivered
		case !now.Before(s.due[0]):
			s.State = StateInTransit
		}
	}
	return s
}

// refusal is the body of a 409 that is in the ledger.
type refusal struct {
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	Shipment *Shipment `json:"shipment,omitempty"`
}

// Books are the carrier's state, made from its ledger entry by entry.
type Books struct{ byReference map[string]*Shipment }

// NewBooks returns empty books.
func NewBooks() *Books { return &Books{byReference: map[string]*Shipment{}} }

// Totals returns what the entries of a carrier's ledger come to, by
// reference, once all is delivered that is on its way.
func Totals(entries []ledger.Entry) map[string]Shipment {
	b := NewBooks()
	for _, e := range entries {
		b.Apply(e)
	}
	all := make(map[string]Shipment, len(b.byReference))
	for ref, s := range b.byReference {
		if s.State == StateDispatched {
			s.State = StateDelivered
		}
		all[ref] = *s
	}
	return all
}

// Apply implements witness.Books.
func (b *Books) Apply(e ledger.Entry) {
	if e.Kind == ledger.Notified || e.Outcome == Refused {
		return
	}
	s := b.byReference[e.Reference]
	if s == nil {
		s = &Shipment{Reference: e.Reference}
		b.byReference[e.Reference] = s
	}
	switch e.Outcome {
	case Booked:
		s.State, s.TrackingNumber = StateBooked, e.ID
	case Cancelled:
		s.State = StateCancelled
	case Dispatched:
		s.State, s.due = StateDispatched, e.Due
		s.Dispatches++
	case Recalled:
		s.State, s.recalled = StateRecalled, e.Time
	}
}

// Reply implements witness.Books.
func (b *Books) Reply(e ledger.Entry) any {
	s := b.byReference[e.Reference].at(e.Time)
	if e.Outcome != Refused {
		return s
	}
	r := refusal{Code: "CLOSED", Shipment: &s,
		Message: fmt.Sprintf("%s of %s refused: it is %s", e.Kind, e.Reference, s.State)}
	switch s.State {
	case StateBooked:
		r.Code = "ALREADY_BOOKED"
	case StateDispatched, StateInTransit, StateDelivered:
		r.Code = "DISPATCHED"
	}
	return r
}

// Notices implements witness.Books.
func (b *Books) Notices(e ledger.Entry) (send []webhook.Event, revoke []string) {
	transit, delivered := "evt_"+digest(e.Reference+"/in_transit"), "evt_"+digest(e.Reference+"/delivered")
	switch {
	case e.Outcome == Dispatched && len(e.Due) == 2:
		s := *b.byReference[e.Reference]
		return []webhook.Event{
			event(transit, "shipment.in_transit", e.Due[0], s, StateInTransit),
			event(delivered, "shipment.delivered", e.Due[1], s, StateDelivered),
		}, nil
	case e.Outcome == Recalled:
		s := b.byReference[e.Reference]
		for i, id := range []string{transit, delivered} {
			if i < len(s.due) && s.due[i].After(e.Time) {
				revoke = append(revoke, id)
			}
		}
	}
	return nil, revoke
}

func event(id, kind string, at time.Time, s Shipment, state State) webhook.Event {
	s.State = state
	data, err := json.Marshal(s)
	if err != nil {
		panic("carrier: " + err.Error()) // strings and numbers only
	}
	return webhook.Event{ID: id, Type: kind, Time: at, Data: data}
}

// tracking makes a tracking number from a reference.
func tracking(reference string) string { return "AR" + strings.ToUpper(digest(reference))[:12] }

// digest makes a short name from a long one.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:10])
}
