package bank

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

// Kinds of ledger entries: what was asked for.
const (
	Authorize = "authorize"
	Capture   = "capture"
	Void      = "void"
	Refund    = "refund"
)

// Outcomes of ledger entries: what came of it.
const (
	Authorized = "authorized"
	Declined   = "declined"
	Captured   = "captured"
	Voided     = "voided"
	Refunded   = "refunded"
	// Nothing: accepted, and there was nothing to do.
	Nothing = "nothing"
	// Refused: 409, and nothing was done.
	Refused = "refused"
)

// State of an authorization.
type State string

// The states, in the order in which they can follow each other.
const (
	StateDeclined   State = "DECLINED"
	StateAuthorized State = "AUTHORIZED"
	StateVoided     State = "VOIDED"
	StateCaptured   State = "CAPTURED"
	StateRefunded   State = "REFUNDED"
	// StateClosed: a refund of nothing came first; there will be no capture.
	StateClosed State = "CLOSED"
)

// Authorization is what the bank knows of a reference. Amounts are minor
// units of Currency.
type Authorization struct {
	// ID is empty when a void or a refund came before any authorize.
	ID        string `json:"id,omitempty"`
	Reference string `json:"reference"`
	State     State  `json:"state"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency,omitempty"`
	Captured  int64  `json:"captured"`
	Refunded  int64  `json:"refunded"`
	// Captures counts the captures that took money: 0 or 1.
	Captures int    `json:"captures"`
	token    string // decides how the bank behaves
}

// refusal is the body of a 409 that is in the ledger.
type refusal struct {
	Code          string         `json:"code"`
	Message       string         `json:"message"`
	Authorization *Authorization `json:"authorization,omitempty"`
}

// Books are the bank's state, made from its ledger entry by entry.
type Books struct{ byReference map[string]*Authorization }

// NewBooks returns empty books.
func NewBooks() *Books { return &Books{byReference: map[string]*Authorization{}} }

// Totals returns what the entries of a bank's ledger come to, by reference:
// what an audit compares with the shop's own books.
func Totals(entries []ledger.Entry) map[string]*Authorization {
	b := NewBooks()
	for _, e := range entries {
		b.Apply(e)
	}
	return b.byReference
}

// Apply implements witness.Books.
func (b *Books) Apply(e ledger.Entry) {
	if e.Kind == ledger.Notified || e.Outcome == Refused {
		return
	}
	a := b.byReference[e.Reference]
	if a == nil {
		a = &Authorization{Reference: e.Reference}
		b.byReference[e.Reference] = a
	}
	switch e.Outcome {
	case Authorized, Declined:
		*a = Authorization{ID: e.ID, Reference: e.Reference, State: StateAuthorized,
			Amount: e.Amount, Currency: e.Currency, token: e.Token}
		if e.Outcome == Declined {
			a.State = StateDeclined
		}
	case Captured:
		a.State = StateCaptured
		a.Captured += e.Amount
		a.Captures++
	case Voided:
		a.State = StateVoided
	case Refunded:
		a.Refunded += e.Amount
		if a.Refunded >= a.Captured {
			a.State = StateRefunded
		}
	case Nothing:
		if e.Kind == Refund && a.Captures == 0 && a.State != StateVoided {
			a.State = StateClosed
		}
	}
}

// Reply implements witness.Books.
func (b *Books) Reply(e ledger.Entry) any {
	a := b.byReference[e.Reference]
	if e.Outcome != Refused {
		return a
	}
	r := refusal{Code: "CLOSED", Authorization: a,
		Message: fmt.Sprintf("%s of %s refused: it is %s", e.Kind, e.Reference, a.State)}
	switch {
	case a.State == StateCaptured:
		r.Code = "ALREADY_CAPTURED"
	case e.Kind == Authorize && a.State == StateAuthorized:
		r.Code = "ALREADY_AUTHORIZED"
	case a.State == StateDeclined:
		r.Code = "DECLINED"
	}
	return r
}

// Notices implements witness.Books.
func (b *Books) Notices(e ledger.Entry) (send []webhook.Event, revoke []string) {
	if e.Outcome == Refused || e.Outcome == Nothing {
		return nil, nil
	}
	return []webhook.Event{{
		ID:   "evt_" + digest(e.Key),
		Type: "payment." + e.Outcome,
		Time: e.Time,
		Data: e.Reply,
	}}, nil
}

// digest makes a short name from a long one.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:10])
}
