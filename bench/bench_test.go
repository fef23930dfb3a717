package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain is also the program that the runs of the tests start.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-role") {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestEverySideDoesEveryMeasurementItIsIn(t *testing.T) {
	var out bytes.Buffer
	if err := measure(t.Context(), options{rounds: 1, slice: 10 * time.Millisecond}, &out); err != nil {
		t.Fatal(err)
	}
	for _, m := range measurements {
		_, table, ok := strings.Cut(out.String(), "\n"+m.name+"\n")
		if !ok {
			t.Fatalf("no table %q in\n%s", m.name, out.String())
		}
		for i, side := range m.sides {
			line := strings.TrimSpace(strings.Split(table, "\n")[1+i])
			if !strings.HasPrefix(line, side+"  ") || strings.Contains(line, "NaN") || strings.Contains(line, "Inf") {
				t.Errorf("%s: line %q is not one of %s", m.name, line, side)
			}
		}
	}
}

func TestOnlyWhatIsAskedForIsMeasured(t *testing.T) {
	var out bytes.Buffer
	if err := measure(t.Context(), options{rounds: 1, slice: time.Millisecond, only: "nothing of the kind"}, &out); err != nil || out.Len() > 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestASideThatCannotWorkEndsTheRunWithItsName(t *testing.T) {
	m := measurement{name: "none", work: "no such work", flight: 1, sides: []string{"bare"}}
	_, err := m.run(t.Context(), options{rounds: 1, slice: time.Millisecond, dir: t.TempDir()})
	if err == nil || !strings.HasPrefix(err.Error(), "bare: ") {
		t.Errorf("%v", err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 100}, 3.5}} {
		if got := median(slices.Clone(c.of)); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.of, got, c.want)
		}
	}
}
