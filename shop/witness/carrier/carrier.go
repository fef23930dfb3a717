package carrier

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// Name of the witness: its files are called after it.
const Name = "carrier"

// Config is how a carrier runs; Name is set by [Run].
type Config struct {
	witness.Config
	// Transit is how long after its dispatch a shipment is in transit. Zero:
	// 300 ms.
	Transit time.Duration
	// Delivery is how long after its dispatch a shipment is delivered; not
	// before Transit. Zero: 1 s.
	Delivery time.Duration
}

const (
	defaultTransit  = 300 * time.Millisecond
	defaultDelivery = time.Second
)

// LedgerPath is where the carrier that works in dir keeps its ledger.
func LedgerPath(dir string) string { return witness.LedgerPath(dir, Name) }

// Run is a carrier until ctx is done.
func Run(ctx context.Context, cfg Config) error {
	cfg.Name = Name
	if cfg.Transit <= 0 {
		cfg.Transit = defaultTransit
	}
	if cfg.Delivery <= 0 {
		cfg.Delivery = defaultDelivery
	}
	cfg.Delivery = max(cfg.Delivery, cfg.Transit)
	c := &clerk{books: NewBooks(), cfg: cfg}
	return witness.Serve(ctx, cfg.Config, c.books, c.routes)
}

// Main is Run as a program; it returns the exit status.
func Main(args []string) int {
	var cfg Config
	define := func(flags *flag.FlagSet) {
		flags.DurationVar(&cfg.Transit, "transit", defaultTransit, "from dispatch to in transit")
		flags.DurationVar(&cfg.Delivery, "delivery", defaultDelivery, "from dispatch to delivered")
	}
	return witness.Command(Name, args, os.Stderr, define, func(ctx context.Context, shared witness.Config) error {
		cfg.Config = shared
		return Run(ctx, cfg)
	})
}

// clerk decides on requests. Its operations run under the desk's lock.
type clerk struct {
	books *Books
	desk  *witness.Desk
	cfg   Config
}

func (c *clerk) routes(mux *http.ServeMux, d *witness.Desk) {
	c.desk = d
	mux.Handle("POST /shipments", witness.Operation(d, c.book))
	mux.Handle("POST /shipments/{reference}/cancellations", witness.Operation(d, c.cancel))
	mux.Handle("POST /shipments/{reference}/dispatches", witness.Operation(d, c.dispatch))
	mux.Handle("POST /shipments/{reference}/recalls", witness.Operation(d, c.recall))
	mux.HandleFunc("GET /shipments/{reference}", c.get)
	mux.HandleFunc("GET /quotes", c.quote)
}

type bookRequest struct {
	Reference string `json:"reference"`
	// Summary of what is in it and where it goes, for people.
	Summary     string `json:"summary"`
	Items       int64  `json:"items"`
	WeightGrams int64  `json:"weightGrams"`
}

var referenceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

func (c *clerk) book(_ string, req bookRequest) (witness.Decision, error) {
	switch {
	case !referenceForm.MatchString(req.Reference):
		return witness.Decision{}, invalid("reference: 1 to 128 letters, digits, dots, colons, dashes or underscores")
	case len(req.Summary) > 500:
		return witness.Decision{}, invalid("summary: at most 500 bytes")
	case req.Items < 0 || req.WeightGrams < 0:
		return witness.Decision{}, invalid("items and weightGrams: not below 0")
	}
	e := ledger.Entry{Kind: Book, Outcome: Booked, Status: http.StatusCreated,
		Reference: req.Reference, ID: tracking(req.Reference)}
	if c.books.byReference[req.Reference] != nil {
		return refuse(e), nil
	}
	return witness.Decision{Entry: e}, nil
}

func (c *clerk) cancel(reference string, _ struct{}) (witness.Decision, error) {
	s, e, err := c.find(reference, Cancel)
	if err != nil {
		return witness.Decision{}, err
	}
	e.Outcome = Cancelled
	if s != nil {
		switch s.State {
		case StateCancelled, StateRecalled:
			e.Outcome = Nothing
		case StateDispatched:
			return refuse(e), nil
		}
	}
	return witness.Decision{Entry: e}, nil
}

func (c *clerk) dispatch(reference string, _ struct{}) (witness.Decision, error) {
	s, e, err := c.find(reference, Dispatch)
	if err != nil {
		return witness.Decision{}, err
	}
	if s == nil {
		return witness.Decision{}, unknown(reference)
	}
	if s.State != StateBooked {
		return refuse(e), nil
	}
	e.Outcome = Dispatched
	e.Due = []time.Time{e.Time.Add(c.cfg.Transit), e.Time.Add(c.cfg.Delivery)}
	return witness.Decision{Entry: e}, nil
}

func (c *clerk) recall(reference string, _ struct{}) (witness.Decision, error) {
	s, e, err := c.find(reference, Recall)
	if err != nil {
		return witness.Decision{}, err
	}
	switch {
	case s == nil || s.State == StateBooked:
		e.Outcome = Cancelled
	case s.State == StateDispatched:
		e.Outcome = Recalled
	default:
		e.Outcome = Nothing
	}
	return witness.Decision{Entry: e}, nil
}

// find returns the shipment, nil if there is none, and the entry to fill.
func (c *clerk) find(reference, kind string) (*Shipment, ledger.Entry, error) {
	e := ledger.Entry{Time: time.Now().UTC(), Kind: kind, Status: http.StatusOK, Reference: reference}
	if !referenceForm.MatchString(reference) {
		return nil, e, invalid("reference")
	}
	s := c.books.byReference[reference]
	if s != nil {
		e.ID = s.TrackingNumber
	}
	return s, e, nil
}

func (c *clerk) get(w http.ResponseWriter, r *http.Request) {
	var s Shipment
	reference := r.PathValue("reference")
	err := c.desk.View(func() {
		if found := c.books.byReference[reference]; found != nil {
			s = found.at(time.Now())
		}
	})
	switch {
	case err != nil:
		witness.WriteError(w, errors.Join(errors.New("the ledger is broken"), err))
	case s.Reference == "":
		witness.WriteError(w, unknown(reference))
	default:
		witness.WriteJSON(w, http.StatusOK, s)
	}
}

// Quote is what a shipment costs, in minor units of Currency, and how long it
// takes at most.
type Quote struct {
	Price    int64  `json:"price"`
	Currency string `json:"currency"`
	Days     int    `json:"days"`
}

// maxWeight is the heaviest shipment, in grams.
const maxWeight = 500_000

// quote answers GET /quotes: 3.90 and 0.60 for every kilogram begun.
func (c *clerk) quote(w http.ResponseWriter, r *http.Request) {
	grams, err := strconv.ParseInt(r.URL.Query().Get("weightGrams"), 10, 64)
	if err != nil || grams < 0 || grams > maxWeight {
		witness.WriteError(w, invalid("weightGrams: 0 to %d", maxWeight))
		return
	}
	q := Quote{Price: 390 + 60*((grams+999)/1000), Currency: "EUR", Days: 1}
	if grams > 20_000 {
		q.Days = 2
	}
	witness.WriteJSON(w, http.StatusOK, q)
}

func refuse(e ledger.Entry) witness.Decision {
	e.Outcome, e.Status = Refused, http.StatusConflict
	return witness.Decision{Entry: e}
}

func invalid(format string, args ...any) error {
	return witness.Refuse(http.StatusUnprocessableEntity, "INVALID", format, args...)
}

func unknown(reference string) error {
	return witness.Refuse(http.StatusNotFound, "NOT_FOUND", "no shipment for %q", reference)
}
