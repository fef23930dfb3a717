package load

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// moody is a shop whose first answer to each key is no answer that counts.
type moody struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("Idempotency-Key")
	m.mu.Lock()
	first := !m.seen[key]
	m.seen[key] = true
	m.mu.Unlock()
	switch {
	case r.URL.Path == "/v1/sessions":
		_, _ = io.WriteString(w, `{"token":"t"}`)
	case r.URL.Path == "/v1/orders" && first:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.URL.Path == "/v1/orders":
		_, _ = io.WriteString(w, `{"id":"of `+key+`"}`)
	default: // a cancellation
		_, _ = io.WriteString(w, `{}`)
	}
}

func TestARetryCountsAsTheTimeThatItTook(t *testing.T) {
	shop := httptest.NewServer(&moody{seen: map[string]bool{}})
	defer shop.Close()
	journal := filepath.Join(t.TempDir(), "load.jsonl")
	r, err := Run(t.Context(), Config{URL: shop.URL, Rate: 200, Duration: 200 * time.Millisecond, Journal: journal, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Offered == 0 || r.Offered != r.Abandoned+r.Acknowledged || r.Failed != 0 {
		t.Errorf("the customers do not add up: %+v", r)
	}
	if r.Retries < r.Acknowledged || r.Errors["503"] != r.Acknowledged {
		t.Errorf("%d retries and %v for %d orders", r.Retries, r.Errors, r.Acknowledged)
	}
	if r.Max < 100 { // a customer waits that long before a second attempt, at the least
		t.Errorf("the slowest order took %g ms: the attempt that failed is left out", r.Max)
	}
	entries, err := ledger.Read(journal)
	if err != nil {
		t.Fatal(err)
	}
	orders := map[string]bool{}
	for _, e := range entries {
		orders[e.Reference] = e.Reference == "of "+e.Key
	}
	for id, good := range orders {
		if !good {
			t.Errorf("the journal has %q under another key", id)
		}
	}
	if len(orders) != r.Acknowledged {
		t.Errorf("%d orders in the journal, %d acknowledged", len(orders), r.Acknowledged)
	}
}

func TestRequestsGoOnlyWhereSomebodyListens(t *testing.T) {
	shop := httptest.NewServer(&moody{seen: map[string]bool{}})
	defer shop.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	r, err := Run(t.Context(), Config{
		URL: gone.URL + ", " + shop.URL + "/", Rate: 200, Duration: 100 * time.Millisecond, Journal: filepath.Join(t.TempDir(), "load.jsonl"), Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Acknowledged == 0 || r.Failed != 0 || r.Errors["no answer"] != 0 {
		t.Errorf("%+v", r)
	}
}
