package witness

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

// Config is how a witness runs.
type Config struct {
	// Name is "bank" or "carrier"; files are named after it.
	Name string
	// Dir holds the ledger, the lock and the address file. It is made if need
	// be. Required.
	Dir string
	// Addr to listen on. Empty: a free port of 127.0.0.1.
	Addr string
	// Webhook is the URL that events are sent to, signed with Secret. Empty:
	// they wait until PUT /webhook names one.
	Webhook, Secret string
	// Seed of the witness's moods (delays, second deliveries). Zero: random.
	Seed uint64
	// Delivery are the manners of the webhooks; URL, Secret, Settled and
	// Random are set by the witness.
	Delivery webhook.Config
	// Log receives the few lines that a witness has to say. Nil: discarded.
	Log *slog.Logger
}

// LedgerPath is where the ledger of the witness called name is kept in dir.
func LedgerPath(dir, name string) string { return filepath.Join(dir, name+".ledger.jsonl") }

// Serve runs a witness until ctx is done: it locks the directory, restores
// the books from the ledger, listens, and writes its address. routes adds the
// operations.
func Serve(ctx context.Context, cfg Config, books Books, routes func(*http.ServeMux, *Desk)) (err error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("%s: %w", cfg.Name, err)
	}
	release, err := lock(filepath.Join(cfg.Dir, cfg.Name+".lock"))
	if err != nil {
		return fmt.Errorf("%s: another one works in %s: %w", cfg.Name, cfg.Dir, err)
	}
	defer func() { err = errors.Join(err, release()) }()
	book, past, err := ledger.Open(LedgerPath(cfg.Dir, cfg.Name))
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Name, err)
	}
	defer func() { err = errors.Join(err, book.Close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	desk := newDesk(ctx, cfg, books, book)
	desk.restore(past)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { desk.sender.Run(ctx) })
	return desk.listen(ctx, cfg, routes)
}

func newDesk(ctx context.Context, cfg Config, books Books, book *ledger.Ledger) *Desk {
	seed := cfg.Seed
	if seed == 0 {
		seed = mathrand.Uint64()
	}
	delivery := cfg.Delivery
	delivery.URL, delivery.Secret = cfg.Webhook, cfg.Secret
	delivery.Random = mathrand.New(mathrand.NewPCG(seed, 1))
	delivery.Settled = func(id string) {
		book.Note(ledger.Entry{Time: time.Now().UTC(), Kind: ledger.Notified, ID: id})
	}
	return &Desk{
		books: books, ledger: book, sender: webhook.NewSender(delivery), stop: ctx.Done(),
		answers: map[string]*answer{}, random: mathrand.New(mathrand.NewPCG(seed, 2)),
	}
}

// listen serves until ctx is done, then lets the requests under way end.
func (d *Desk) listen(ctx context.Context, cfg Config, routes func(*http.ServeMux, *Desk)) error {
	listener, err := net.Listen("tcp", cmp.Or(cfg.Addr, "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Name, err)
	}
	self := Address{PID: os.Getpid(), Addr: listener.Addr().String(), Instance: rand.Text(), Name: cfg.Name}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { d.health(w, self) })
	mux.HandleFunc("GET /ledger", d.stream)
	mux.HandleFunc("PUT /webhook", d.point)
	routes(mux, d)
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	if err := self.write(cfg.Dir); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", cfg.Name, err), server.Close(), ignoreClosed(<-ended))
	}
	cfg.Log.Info("listening", "witness", cfg.Name, "addr", self.Addr, "pid", self.PID)
	select {
	case err := <-ended:
		return fmt.Errorf("%s: %w", cfg.Name, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	err = server.Shutdown(grace)
	if err != nil {
		err = server.Close()
	}
	return errors.Join(err, ignoreClosed(<-ended), self.remove(cfg.Dir))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Health is the answer of GET /healthz.
type Health struct {
	Address
	// Pending is how many webhooks wait for their first delivery.
	Pending int `json:"pendingWebhooks"`
	// Error says why nothing can be booked.
	Error string `json:"error,omitempty"`
}

func (d *Desk) health(w http.ResponseWriter, self Address) {
	h, status := Health{Address: self, Pending: d.sender.Pending()}, http.StatusOK
	if err := d.ledger.Err(); err != nil {
		h.Error, status = err.Error(), http.StatusServiceUnavailable
	}
	WriteJSON(w, status, h)
}

// stream sends the part of the ledger that is on disk.
func (d *Desk) stream(w http.ResponseWriter, _ *http.Request) {
	file, err := os.Open(d.ledger.Path())
	if err != nil {
		WriteError(w, err)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	io.CopyN(w, file, d.ledger.Size())
}

// point takes a new address for webhooks.
func (d *Desk) point(w http.ResponseWriter, r *http.Request) {
	var req hook
	if _, err := readJSON(w, r, &req); err != nil {
		WriteError(w, err)
		return
	}
	if u, err := url.Parse(req.URL); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		WriteError(w, Refuse(http.StatusUnprocessableEntity, "BAD_URL", "an http or https URL is required"))
		return
	}
	d.sender.Point(req.URL, req.Secret)
	w.WriteHeader(http.StatusNoContent)
}

// hook is the body of PUT /webhook.
type hook struct {
	URL    string `json:"url"`
	Secret string `json:"secret"`
}

// encode is json.Marshal for values that always can be.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("witness: " + err.Error())
	}
	return b
}
