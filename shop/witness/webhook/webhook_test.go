package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestASignatureHoldsForItsBodySecretAndTime(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	body := []byte(`{"id":"evt_1"}`)
	good := Sign("secret", now, body)
	for _, tt := range []struct {
		name, secret, header, body string
		now                        time.Time
		ok                         bool
	}{
		{"as it was signed", "secret", good, string(body), now, true},
		{"a little later", "secret", good, string(body), now.Add(Tolerance - time.Second), true},
		{"much later", "secret", good, string(body), now.Add(Tolerance + 2*time.Second), false},
		{"from the future", "secret", good, string(body), now.Add(-Tolerance - 2*time.Second), false},
		{"another secret", "other", good, string(body), now, false},
		{"another body", "secret", good, `{"id":"evt_2"}`, now, false},
		{"another time", "secret", strings.Replace(good, "t=18", "t=19", 1), string(body), now, false},
		{"no header", "secret", "", string(body), now, false},
		{"no hex", "secret", "t=1800000000,v1=zz", string(body), now, false},
		{"no time", "secret", "v1=00", string(body), now, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Verify(tt.secret, http.Header{SignatureHeader: {tt.header}}, []byte(tt.body), tt.now)
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrSignature)) {
				t.Fatalf("Verify: %v", err)
			}
		})
	}
}

// run runs a sender until the test ends.
func run(t *testing.T, cfg Config) *Sender {
	s := NewSender(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return s
}

// receive answers each delivery with the statuses in turn, then 200.
func receive(t *testing.T, statuses ...int) (string, <-chan string) {
	ids := make(chan string, 64)
	next := make(chan int, len(statuses))
	for _, s := range statuses {
		next <- s
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e, err := Open("s", r.Header, body, time.Now())
		if err != nil {
			t.Error(err)
		}
		select {
		case status := <-next:
			w.WriteHeader(status)
		default:
		}
		ids <- e.ID
	}))
	t.Cleanup(server.Close)
	return server.URL, ids
}

func TestAnEventIsSentUntilItIsTaken(t *testing.T) {
	url, ids := receive(t, 503, 404, 500)
	settled := make(chan string, 1)
	s := run(t, Config{URL: url, Secret: "s", Jitter: 1, Twice: -1, Settled: func(id string) { settled <- id }})
	s.Add(Event{ID: "a"}, nil)
	// An event of the year one is past its time of retries.
	if <-ids != "a" || <-settled != "a" || s.Pending() != 0 {
		t.Fatal("an event past its time was not given up")
	}
	s.Add(Event{ID: "b", Time: time.Now()}, nil)
	for range 3 {
		if id := <-ids; id != "b" {
			t.Fatal(id)
		}
	}
	if id := <-settled; id != "b" {
		t.Fatal(id)
	}
}

func TestAnEventCanComeTwiceAndSettlesOnce(t *testing.T) {
	url, ids := receive(t)
	settled := make(chan string, 4)
	s := run(t, Config{URL: url, Secret: "s", Jitter: 1, Twice: 1, Settled: func(id string) { settled <- id }})
	s.Add(Event{ID: "a", Time: time.Now()}, nil)
	for range 2 {
		if id := <-ids; id != "a" {
			t.Fatalf("got %q", id)
		}
	}
	if id := <-settled; id != "a" {
		t.Fatalf("%q settled", id)
	}
	select {
	case <-settled:
		t.Fatal("settled twice")
	default:
	}
}

func TestAnEventThatDidNotReachTheDiskIsNotSent(t *testing.T) {
	url, ids := receive(t)
	s := run(t, Config{URL: url, Secret: "s", Jitter: 1, Twice: -1})
	s.Add(Event{ID: "lost", Time: time.Now()}, func() error { return errors.New("disk") })
	s.Add(Event{ID: "kept", Time: time.Now()}, func() error { return nil })
	if id := <-ids; id != "kept" {
		t.Fatal(id)
	}
}

func TestARevokedEventIsNotSent(t *testing.T) {
	url, ids := receive(t)
	s := run(t, Config{Secret: "s", Jitter: 1, Twice: 1})
	s.Add(Event{ID: "a", Time: time.Now()}, nil)
	s.Revoke("a")
	s.Revoke("never there")
	s.Point(url, "s")
	s.Add(Event{ID: "b", Time: time.Now()}, nil)
	if id := <-ids; id != "b" {
		t.Fatal(id)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("t=1,v1=00", []byte("{}"))
	f.Add("t=,v1=", []byte{})
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if Verify("secret", http.Header{SignatureHeader: {header}}, body, time.Unix(1, 0)) == nil {
			t.Fatal("a guessed signature was accepted")
		}
	})
}
