package bank

import (
	"context"
	"errors"
	"net/http"
	"os"
	"regexp"
	"time"

	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// Name of the witness: its files are called after it.
const Name = "bank"

// The card tokens that the bank knows.
const (
	TokenOK      = "tok_ok"
	TokenDecline = "tok_decline"
	TokenTimeout = "tok_timeout_after_commit"
	TokenSlow    = "tok_slow"
)

// maxAmount is the greatest amount of one authorization, in minor units.
const maxAmount = 1_000_000_000_000

// Config is how a bank runs; Name is set by [Run].
type Config = witness.Config

// LedgerPath is where the bank that works in dir keeps its ledger.
func LedgerPath(dir string) string { return witness.LedgerPath(dir, Name) }

// Run is a bank until ctx is done.
func Run(ctx context.Context, cfg Config) error {
	cfg.Name = Name
	b := NewBooks()
	return witness.Serve(ctx, cfg, b, b.routes)
}

// Main is Run as a program; it returns the exit status.
func Main(args []string) int { return witness.Command(Name, args, os.Stderr, nil, Run) }

func (b *Books) routes(mux *http.ServeMux, d *witness.Desk) {
	t := &teller{books: b, desk: d}
	mux.Handle("POST /authorizations", witness.Operation(d, t.authorize))
	mux.Handle("POST /authorizations/{reference}/captures", witness.Operation(d, t.capture))
	mux.Handle("POST /authorizations/{reference}/voids", witness.Operation(d, t.void))
	mux.Handle("POST /authorizations/{reference}/refunds", witness.Operation(d, t.refund))
	mux.HandleFunc("GET /authorizations/{reference}", t.get)
}

// teller decides on requests. Its operations run under the desk's lock.
type teller struct {
	books *Books
	desk  *witness.Desk
}

type authorizeRequest struct {
	Reference string `json:"reference"`
	Token     string `json:"token"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
}

// amountRequest asks for all there is when Amount is zero.
type amountRequest struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

var (
	referenceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
	currencyForm  = regexp.MustCompile(`^[A-Z]{3}$`)
)

func (r authorizeRequest) check() error {
	switch {
	case !referenceForm.MatchString(r.Reference):
		return invalid("reference: 1 to 128 letters, digits, dots, colons, dashes or underscores")
	case !currencyForm.MatchString(r.Currency):
		return invalid("currency: three capital letters")
	case r.Amount <= 0 || r.Amount > maxAmount:
		return invalid("amount: 1 to 10^12 minor units")
	}
	switch r.Token {
	case TokenOK, TokenDecline, TokenTimeout, TokenSlow:
		return nil
	}
	return witness.Refuse(http.StatusUnprocessableEntity, "UNKNOWN_TOKEN", "no card has this token")
}

func (t *teller) authorize(_ string, req authorizeRequest) (witness.Decision, error) {
	if err := req.check(); err != nil {
		return witness.Decision{}, err
	}
	e := ledger.Entry{Kind: Authorize, Outcome: Authorized, Status: http.StatusCreated,
		Reference: req.Reference, Amount: req.Amount, Currency: req.Currency, Token: req.Token}
	e.ID = "auth_" + digest(req.Reference)
	if a := t.books.byReference[req.Reference]; a != nil && a.State != StateDeclined {
		return refuse(e), nil
	}
	if req.Token == TokenDecline {
		e.Outcome = Declined
	}
	return t.mood(e, req.Token), nil
}

func (t *teller) capture(reference string, req amountRequest) (witness.Decision, error) {
	a := t.books.byReference[reference]
	if a == nil {
		return witness.Decision{}, unknown(reference)
	}
	if err := req.check(a, a.Amount); err != nil {
		return witness.Decision{}, err
	}
	if req.Amount != 0 && req.Amount != a.Amount {
		return witness.Decision{}, invalid("amount: all or nothing of an authorization is captured")
	}
	e := ledger.Entry{Kind: Capture, Outcome: Captured, Status: http.StatusOK,
		Reference: reference, ID: a.ID, Amount: a.Amount, Currency: a.Currency}
	if a.State != StateAuthorized {
		return refuse(e), nil
	}
	return t.mood(e, a.token), nil
}

func (t *teller) void(reference string, _ struct{}) (witness.Decision, error) {
	if !referenceForm.MatchString(reference) {
		return witness.Decision{}, invalid("reference")
	}
	e := ledger.Entry{Kind: Void, Outcome: Voided, Status: http.StatusOK, Reference: reference}
	a := t.books.byReference[reference]
	if a == nil {
		return witness.Decision{Entry: e}, nil
	}
	e.ID, e.Amount, e.Currency = a.ID, a.Amount, a.Currency
	switch a.State {
	case StateVoided, StateClosed:
		e.Outcome = Nothing
	case StateCaptured, StateRefunded:
		return refuse(e), nil
	}
	return witness.Decision{Entry: e}, nil
}

func (t *teller) refund(reference string, req amountRequest) (witness.Decision, error) {
	if !referenceForm.MatchString(reference) {
		return witness.Decision{}, invalid("reference")
	}
	e := ledger.Entry{Kind: Refund, Outcome: Nothing, Status: http.StatusOK, Reference: reference}
	a := t.books.byReference[reference]
	if a == nil {
		return witness.Decision{Entry: e}, nil
	}
	e.ID, e.Currency = a.ID, a.Currency
	left := a.Captured - a.Refunded
	if left == 0 {
		return witness.Decision{Entry: e}, nil
	}
	if err := req.check(a, left); err != nil {
		return witness.Decision{}, err
	}
	e.Outcome, e.Amount = Refunded, left
	if req.Amount != 0 {
		e.Amount = req.Amount
	}
	return witness.Decision{Entry: e}, nil
}

func (r amountRequest) check(a *Authorization, most int64) error {
	switch {
	case r.Amount < 0 || r.Amount > most:
		return invalid("amount: 1 to %d, or 0 for all", most)
	case r.Currency != "" && r.Currency != a.Currency:
		return invalid("currency: it is %s", a.Currency)
	}
	return nil
}

// mood adds what the token does to the first answer.
func (t *teller) mood(e ledger.Entry, token string) witness.Decision {
	dec := witness.Decision{Entry: e}
	switch token {
	case TokenTimeout:
		dec.Hang = true
	case TokenSlow:
		dec.Delay = t.desk.Between(200*time.Millisecond, 800*time.Millisecond)
	}
	return dec
}

func (t *teller) get(w http.ResponseWriter, r *http.Request) {
	var a Authorization
	reference := r.PathValue("reference")
	err := t.desk.View(func() {
		if found := t.books.byReference[reference]; found != nil {
			a = *found
		}
	})
	switch {
	case err != nil:
		witness.WriteError(w, errors.Join(errors.New("the ledger is broken"), err))
	case a.Reference == "":
		witness.WriteError(w, unknown(reference))
	default:
		witness.WriteJSON(w, http.StatusOK, a)
	}
}

func refuse(e ledger.Entry) witness.Decision {
	e.Outcome, e.Status = Refused, http.StatusConflict
	return witness.Decision{Entry: e}
}

func invalid(format string, args ...any) error {
	return witness.Refuse(http.StatusUnprocessableEntity, "INVALID", format, args...)
}

func unknown(reference string) error {
	return witness.Refuse(http.StatusNotFound, "NOT_FOUND", "no authorization for %q", reference)
}
