package partner_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/shop/partner"
)

// bankAt returns a client of a partner at a URL.
func bankAt(t *testing.T, url string) *partner.Client {
	t.Helper()
	dir := t.TempDir()
	return partner.New(partner.Config{
		Name: "bank", URL: func() string { return url }, Dir: func() string { return dir }, Timeout: func() time.Duration { return 200 * time.Millisecond },
	})
}

func TestAnAnswerBecomesAnErrorThatASagaCanActOn(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for name, c := range map[string]struct {
		answer  http.HandlerFunc
		code    codes.Code
		reason  string
		notDone bool
	}{
		"a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"code":"CLOSED","message":"it is closed"}`))
		}, codes.FailedPrecondition, "CLOSED", false},
		"a refusal that says nothing": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
			codes.FailedPrecondition, "PARTNER_REFUSED", false},
		"a failure":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, codes.Unavailable, "PARTNER_FAILING", false},
		"too many calls": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, codes.Unavailable, "PARTNER_FAILING", false},
		"no JSON":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, codes.Unavailable, "PARTNER_GARBLED", false},
		"no answer":      {func(_ http.ResponseWriter, r *http.Request) { <-release }, codes.DeadlineExceeded, "PARTNER_TIMEOUT", false},
		"a broken answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			codes.Unavailable, "PARTNER_BROKE_OFF", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			t.Cleanup(s.CloseClientConnections)
			err := bankAt(t, s.URL).Post(t.Context(), "/captures", "k", struct{}{}, &struct{}{})
			e := fault.From(err)
			if e == nil || e.Code != c.code || e.Reason != c.reason || e.NotDone != c.notDone {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAPartnerThatIsNotThereCertainlyDidNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{gone, ""} { // "": no witness works in the directory
		err := bankAt(t, url).Post(t.Context(), "/captures", "k", struct{}{}, &struct{}{})
		if e := fault.From(err); e == nil || e.Code != codes.Unavailable || !e.NotDone {
			t.Errorf("at %q: %v", url, err)
		}
	}
}

func TestTheKeyAndTheRequestArriveAsTheyAre(t *testing.T) {
	var key, kind string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, kind = r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type")
		_, _ = w.Write([]byte(`{"state":"CAPTURED"}`))
	}))
	defer s.Close()
	var reply struct{ State string }
	err := bankAt(t, s.URL+"/").Post(context.Background(), "/captures", "order-1/capture", map[string]int{"amount": 1}, &reply)
	if err != nil || reply.State != "CAPTURED" || key != "order-1/capture" || kind != "application/json" {
		t.Errorf("%v %+v, key %q, %q", err, reply, key, kind)
	}
}
