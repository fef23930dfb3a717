package argosy

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/argosy-go/argosy/guard"
)

func TestTheHelpOfTheRulesNamesTheDefaultsOfTheGuards(t *testing.T) {
	d := guard.Defaults()
	rule := reflect.TypeFor[guardRule]()
	for name, want := range map[string]any{
		"Attempts": d.MaxAttempts, "Bulkhead": d.MaxInFlight, "MinLimit": d.MinLimit, "RetryBudget": d.RetryShare,
		"Retry.Pause": d.FirstPause, "Retry.MaxPause": d.MaxPause,
		"Breaker.Window": d.Breaker.Window, "Breaker.MinCalls": d.Breaker.MinCalls, "Breaker.FailureShare": d.Breaker.Threshold,
		"Breaker.Pause": d.Breaker.Pause, "Breaker.MaxPause": d.Breaker.MaxPause, "Breaker.Probes": d.Breaker.Probes,
	} {
		of, f := rule, reflect.StructField{}
		for part := range strings.SplitSeq(name, ".") {
			f, _ = of.FieldByName(part)
			of = f.Type
		}
		if said := fmt.Sprintf("(default %v)", want); !strings.HasSuffix(f.Tag.Get("usage"), said) {
			t.Errorf("%s: the help says %q, and it is %s", name, f.Tag.Get("usage"), said)
		}
	}
}
