package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy/fault"
)

// every code but OK, which is no error.
func everyCode() []codes.Code {
	var all []codes.Code
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		all = append(all, c)
	}
	return all
}

func full(c codes.Code) *fault.Error {
	e := fault.New(c, "SOLD_OUT", "there is no %s left", "rum")
	e.Service = "inventory"
	e.Metadata = map[string]string{"product": "rum", "§": "ü\n"}
	e.Violations = []fault.Violation{{Field: "lines[2].quantity", Description: "between 1 and 99"}}
	e.RetryAfter = 1500 * time.Millisecond
	e.NotDone = true
	return e
}

func TestAnErrorComesBackWholeFromGRPC(t *testing.T) {
	for _, c := range everyCode() {
		for _, e := range []*fault.Error{full(c), fault.New(c, "", "bare"), fault.New(c, "R", "reason only")} {
			// As it travels: through the bytes of google.rpc.Status.
			back := fault.FromStatus(status.FromProto(e.GRPCStatus().Proto()))
			if !reflect.DeepEqual(back, e) {
				t.Errorf("%s: got %+v\nwant %+v", c, back, e)
			}
		}
	}
}

func TestAnErrorComesBackWholeFromHTTP(t *testing.T) {
	for _, c := range everyCode() {
		for _, e := range []*fault.Error{full(c), fault.New(c, "", "bare")} {
			w := httptest.NewRecorder()
			fault.WriteHTTP(w, e)
			if w.Code != e.HTTPStatus() || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %v", c, w.Code, w.Header())
			}
			var p fault.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatal(err)
			}
			if back := fault.FromProblem(p); !reflect.DeepEqual(back, e) {
				t.Errorf("%s: got %+v\nwant %+v", c, back, e)
			}
		}
	}
}

func TestHTTPStatusesAreThoseOfTheTable(t *testing.T) {
	for _, c := range []struct {
		code   codes.Code
		reason string
		want   int
	}{
		{codes.InvalidArgument, "", 400}, {codes.InvalidArgument, fault.ReasonKeyReused, 422}, {codes.InvalidArgument, fault.ReasonKeyMissing, 400},
		{codes.Aborted, fault.ReasonInFlight, 409}, {codes.ResourceExhausted, "", 429}, {codes.ResourceExhausted, fault.ReasonTooLarge, 413},
		{codes.Unavailable, "", 503}, {codes.DeadlineExceeded, "", 504}, {codes.Unauthenticated, "", 401}, {codes.PermissionDenied, "", 403},
		{codes.NotFound, "", 404}, {codes.Internal, "", 500}, {codes.Canceled, "", 499}, {codes.FailedPrecondition, fault.ReasonStale, 412},
		{codes.Code(99), "", 500},
	} {
		if got := fault.New(c.code, c.reason, "x").HTTPStatus(); got != c.want {
			t.Errorf("%s %s: %d, want %d", c.code, c.reason, got, c.want)
		}
	}
}

func TestRetryAfterIsRoundedUpAndA401SaysHowToAuthenticate(t *testing.T) {
	w := httptest.NewRecorder()
	fault.WriteHTTP(w, fault.New(codes.Unavailable, "", "x").WithRetryAfter(1100*time.Millisecond))
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q", got)
	}
	w = httptest.NewRecorder()
	fault.WriteHTTP(w, fault.New(codes.Unauthenticated, "", "x"))
	if got := w.Header().Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate %q", got)
	}
}

func TestACauseIsForLogsAndNeverForCallers(t *testing.T) {
	secret := errors.New("password is hunter2")
	e := fault.New(codes.Unavailable, "AWAY", "the bank is away").Wrap(secret)
	if !errors.Is(e, secret) || !strings.Contains(e.Error(), "hunter2") {
		t.Error("the cause is lost to logs")
	}
	w := httptest.NewRecorder()
	fault.WriteHTTP(w, e)
	if strings.Contains(w.Body.String(), "hunter2") || strings.Contains(e.GRPCStatus().String(), "hunter2") {
		t.Error("the cause is shown to callers")
	}
}

func TestFromUnderstandsEveryErrorThatCanCome(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"one of ours, wrapped":         {fmt.Errorf("reserve: %w", full(codes.NotFound)), codes.NotFound},
		"a gRPC status":                {status.Error(codes.AlreadyExists, "x"), codes.AlreadyExists},
		"a gRPC status, wrapped":       {fmt.Errorf("call: %w", status.Error(codes.Aborted, "x")), codes.Aborted},
		"a deadline":                   {fmt.Errorf("call: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		"a cancellation":               {context.Canceled, codes.Canceled},
		"an error of somebody's":       {errors.New("disk on fire"), codes.Internal},
		"a code of OK, which is no OK": {fault.New(codes.OK, "", "x"), codes.Unknown},
	} {
		e := fault.From(c.err)
		if e.Code != c.code || fault.CodeOf(c.err) != c.code {
			t.Errorf("%s: %s, want %s", name, e.Code, c.code)
		}
		if c.code == codes.Internal && strings.Contains(e.Message, "fire") {
			t.Errorf("%s: the message gives it away", name)
		}
	}
	if fault.From(nil) != nil || fault.CodeOf(nil) != codes.OK || fault.FromStatus(status.New(codes.OK, "")) != nil {
		t.Error("no error became one")
	}
}

func TestAnErrorIsRecognisedByCodeAndReasonAlsoOverTheNetwork(t *testing.T) {
	sold := fault.New(codes.FailedPrecondition, "SOLD_OUT", "sold out")
	far := fault.From(sold.WithMessage("no rum").WithMetadata("product", "rum").GRPCStatus().Err())
	if !errors.Is(far, sold) {
		t.Error("it was not recognised")
	}
	if errors.Is(far, fault.New(codes.FailedPrecondition, "DECLINED", "")) || errors.Is(far, fault.New(codes.NotFound, "SOLD_OUT", "")) {
		t.Error("another one was taken for it")
	}
	if sold.Message != "sold out" || sold.Metadata != nil {
		t.Error("refining an error changed it")
	}
}

func TestAProblemOfAnotherMakerIsReadByItsStatus(t *testing.T) {
	for status, want := range map[int]codes.Code{
		http.StatusNotFound: codes.NotFound, http.StatusServiceUnavailable: codes.Unavailable, http.StatusTeapot: codes.FailedPrecondition, 599: codes.Unknown,
	} {
		if got := fault.FromProblem(fault.Problem{Status: status}).Code; got != want {
			t.Errorf("%d: %s, want %s", status, got, want)
		}
	}
}

func Example() {
	err := fault.New(codes.FailedPrecondition, "SOLD_OUT", "there is no rum left").WithRetryAfter(time.Hour)
	fmt.Println(err)
	fmt.Println(err.HTTPStatus(), err.GRPCStatus().Code())
	// Output:
	// FailedPrecondition SOLD_OUT: there is no rum left
	// 400 FailedPrecondition
}
