package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/argosy-go/argosy/service"
)

func TestANameIsLowerCaseWordsWithHyphens(t *testing.T) {
	for name, good := range map[string]bool{
		"order": true, "order-book": true, "v2": true, "": false, "Order": false, "order_book": false, "-order": false,
		"order-": false, "a--b": false, "2nd": false, strings.Repeat("a", 41): false,
	} {
		if err := service.New(name, service.Options{}).Err(); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAllThatIsWrongIsToldTogether(t *testing.T) {
	s := service.New("order", service.Options{})
	s.Fail(nil)
	s.Fail(errors.New("one"))
	s.Fail(errors.New("two"))
	err := s.Err()
	if err == nil || !strings.Contains(err.Error(), "service order: one") || !strings.Contains(err.Error(), "service order: two") {
		t.Errorf("got %v", err)
	}
}

func TestAServiceHasOneDatabase(t *testing.T) {
	s := service.New("order", service.Options{})
	if s.HasDB() {
		t.Error("it has a database that nobody asked for")
	}
	if s.DB(fstest.MapFS{}) != s.DB(nil) || !s.HasDB() {
		t.Error("two databases")
	}
	err := s.DB(nil).Do(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "not open") {
		t.Errorf("a transaction in setup: %v", err)
	}
}

func TestAnEdgeIsDeclaredOnce(t *testing.T) {
	s := service.New("order", service.Options{})
	s.UseBroker()
	s.UseBroker()
	s.Declare(service.Edge{Kind: service.Calls, Name: "a.B"})
	if got := len(s.Edges()); got != 2 {
		t.Errorf("%d edges", got)
	}
}

// counter is the state of a mechanism.
type counter struct{ n int }

// The shortest mechanism: it keeps one state a service.
func ExamplePart() {
	s := service.New("order", service.Options{})
	fmt.Println(service.Find[counter](s) == nil)
	service.Part(s, func() *counter { return &counter{n: 1} }).n++
	fmt.Println(service.Part(s, func() *counter { return &counter{} }).n)
	// Output:
	// true
	// 2
}

func TestEveryProcessHasAnotherInstanceAndAWorkingLogger(t *testing.T) {
	a, b := service.New("a", service.Options{}), service.New("a", service.Options{})
	if a.Instance() == b.Instance() || a.Instance() == "" {
		t.Errorf("%q and %q", a.Instance(), b.Instance())
	}
	a.Log().Info("nobody listens, and nothing breaks")
}

func TestHooksAndWorkersKeepTheirOrder(t *testing.T) {
	s := service.New("order", service.Options{})
	nothing := func(context.Context) error { return nil }
	s.OnStart("one", nothing)
	s.OnStart("two", nothing)
	s.OnStop("three", nothing)
	s.Go("loop", nothing)
	s.Worker(service.Worker{Stage: service.Output, Name: "relay", Run: nothing})
	if h := s.StartHooks(); h[0].Name != "one" || h[1].Name != "two" || s.StopHooks()[0].Name != "three" {
		t.Error("hooks are out of order")
	}
	if w := s.Workers(); w[0].Stage != service.Work || w[1].Stage != service.Output {
		t.Errorf("workers are %+v", w)
	}
}
