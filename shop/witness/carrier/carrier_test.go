package carrier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

const secret = "s3cret"

// start runs a carrier in this process; stop ends it.
func start(t *testing.T, cfg Config) (base string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	for t.Context().Err() == nil {
		if a, ok := witness.Find(ctx, cfg.Dir, Name); ok {
			return a.URL(), stop
		}
	}
	t.Fatal("no carrier came up")
	return "", nil
}

func post(t *testing.T, base string, status int, key, path string, body any) map[string]any {
	t.Helper()
	text, _ := json.Marshal(body)
	req, err := http.NewRequest(http.MethodPost, base+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s %s: %d %v, want %d", key, path, resp.StatusCode, out, status)
	}
	return out
}

func book(ref string) bookRequest { return bookRequest{Reference: ref, Items: 3, WeightGrams: 1200} }

// inbox is a receiver of webhooks.
func inbox(t *testing.T) (url string, events <-chan webhook.Event) {
	ch := make(chan webhook.Event, 64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e, err := webhook.Open(secret, r.Header, body, time.Now())
		if err != nil {
			t.Error(err)
		}
		ch <- e
	}))
	t.Cleanup(server.Close)
	return server.URL, ch
}

func TestWhatTheCarrierAccepts(t *testing.T) {
	dir := t.TempDir()
	base, _ := start(t, Config{Config: witness.Config{Dir: dir}, Transit: time.Hour, Delivery: time.Hour})
	for _, tt := range []struct {
		name, key, path string
		body            any
		status          int
		field, value    string
	}{
		{"a booking", "a1", "/shipments", book("a"), 201, "state", "BOOKED"},
		{"the same again", "a1", "/shipments", book("a"), 201, "state", "BOOKED"},
		{"another under its key", "a1", "/shipments", book("x"), 422, "code", "KEY_REUSED"},
		{"a second booking", "a2", "/shipments", book("a"), 409, "code", "ALREADY_BOOKED"},
		{"its dispatch", "a3", "/shipments/a/dispatches", struct{}{}, 200, "state", "DISPATCHED"},
		{"a second dispatch", "a4", "/shipments/a/dispatches", struct{}{}, 409, "code", "DISPATCHED"},
		{"a cancellation after it", "a5", "/shipments/a/cancellations", struct{}{}, 409, "code", "DISPATCHED"},
		{"a recall", "a6", "/shipments/a/recalls", struct{}{}, 200, "state", "RECALLED"},
		{"a recall again", "a7", "/shipments/a/recalls", struct{}{}, 200, "state", "RECALLED"},
		{"a cancellation before its booking", "b1", "/shipments/b/cancellations", struct{}{}, 200, "state", "CANCELLED"},
		{"the late booking", "b2", "/shipments", book("b"), 409, "code", "CLOSED"},
		{"a recall of nothing", "c1", "/shipments/c/recalls", struct{}{}, 200, "state", "CANCELLED"},
		{"the late booking after it", "c2", "/shipments", book("c"), 409, "code", "CLOSED"},
		{"a booking that is cancelled", "d1", "/shipments", book("d"), 201, "state", "BOOKED"},
		{"its cancellation", "d2", "/shipments/d/cancellations", struct{}{}, 200, "state", "CANCELLED"},
		{"its late dispatch", "d3", "/shipments/d/dispatches", struct{}{}, 409, "code", "CLOSED"},
		{"a dispatch of nothing", "e1", "/shipments/e/dispatches", struct{}{}, 404, "code", "NOT_FOUND"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := post(t, base, tt.status, tt.key, tt.path, tt.body); got[tt.field] != tt.value {
				t.Fatalf("%v, want %s %s", got, tt.field, tt.value)
			}
		})
	}
	entries, err := ledger.Read(LedgerPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	all := Totals(entries)
	if all["a"].State != StateRecalled || all["a"].Dispatches != 1 || all["d"].State != StateCancelled {
		t.Fatalf("%+v", all)
	}
}

func TestADispatchedShipmentIsDeliveredAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Config: witness.Config{Dir: dir}, Transit: time.Millisecond, Delivery: 2 * time.Millisecond}
	base, stop := start(t, cfg)
	post(t, base, 201, "1", "/shipments", book("o"))
	post(t, base, 200, "2", "/shipments/o/dispatches", struct{}{})
	stop() // nobody was told where to send webhooks
	url, events := inbox(t)
	cfg.Webhook, cfg.Secret = url, secret
	base, _ = start(t, cfg)
	got := map[string]bool{}
	for len(got) < 2 {
		e := <-events
		got[e.Type] = true
	}
	if !got["shipment.in_transit"] || !got["shipment.delivered"] {
		t.Fatal(got)
	}
	resp, err := http.Get(base + "/shipments/o")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s Shipment
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || s.State != StateDelivered {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestARecalledShipmentIsNotDelivered(t *testing.T) {
	url, events := inbox(t)
	base, _ := start(t, Config{
		Config:  witness.Config{Dir: t.TempDir(), Webhook: url, Secret: secret, Delivery: webhook.Config{Jitter: time.Millisecond, Twice: -1}},
		Transit: time.Millisecond, Delivery: 300 * time.Millisecond,
	})
	post(t, base, 201, "a1", "/shipments", book("a"))
	post(t, base, 200, "a2", "/shipments/a/dispatches", struct{}{})
	post(t, base, 200, "a3", "/shipments/a/recalls", struct{}{})
	post(t, base, 201, "b1", "/shipments", book("b"))
	post(t, base, 200, "b2", "/shipments/b/dispatches", struct{}{})
	for {
		e := <-events
		var s Shipment
		if err := json.Unmarshal(e.Data, &s); err != nil {
			t.Fatal(err)
		}
		if e.Type != "shipment.delivered" {
			continue
		}
		if s.Reference == "a" {
			t.Fatal("a recalled shipment was delivered")
		}
		return // b, which was dispatched after a
	}
}

func TestQuotes(t *testing.T) {
	base, _ := start(t, Config{Config: witness.Config{Dir: t.TempDir()}})
	for query, want := range map[string]string{
		"weightGrams=0":      `{"price":390,"currency":"EUR","days":1}`,
		"weightGrams=1001":   `{"price":510,"currency":"EUR","days":1}`,
		"weightGrams=20001":  `{"price":1650,"currency":"EUR","days":2}`,
		"weightGrams=-1":     `{"code":"INVALID","message":"weightGrams: 0 to 500000"}`,
		"weightGrams=500001": `{"code":"INVALID","message":"weightGrams: 0 to 500000"}`,
		"":                   `{"code":"INVALID","message":"weightGrams: 0 to 500000"}`,
	} {
		resp, err := http.Get(base + "/quotes?" + query)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(bytes.TrimSpace(got)) != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestADirectoryIsRequired(t *testing.T) {
	if status := Main([]string{"--nonsense"}); status != 2 {
		t.Fatalf("an unknown flag: %d", status)
	}
	if status := Main(nil); status != 2 {
		t.Fatalf("no directory: %d", status)
	}
	if _, err := os.Stat("carrier.lock"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("it worked in the current directory")
	}
}
