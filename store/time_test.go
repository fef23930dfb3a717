package store_test

import (
	"testing"
	"time"

	"github.com/argosy-go/argosy/store"
)

func TestTimeIsMicrosecondsInAColumn(t *testing.T) {
	tests := []struct {
		name string
		at   time.Time
		want int64
	}{
		{"the zero time is 0", time.Time{}, 0},
		{"a time is cut to the microsecond", time.Unix(1, 999_999_999), 1_999_999},
		{"the zone does not matter", time.Unix(5, 0).In(time.FixedZone("x", 7200)), 5_000_000},
		{"a time before 1970 is negative", time.Unix(-1, 0), -1_000_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := store.At(tt.at).Value()
			if err != nil || got != tt.want {
				t.Fatalf("Value() = %v, %v, want %d", got, err, tt.want)
			}
			var back store.Time
			if err := back.Scan(got); err != nil {
				t.Fatal(err)
			}
			if !back.Equal(tt.at.Truncate(time.Microsecond)) && !tt.at.IsZero() || back.IsZero() != tt.at.IsZero() {
				t.Errorf("Scan(%v) = %v, want %v", got, back, tt.at)
			}
			if !back.IsZero() && back.Location() != time.UTC {
				t.Errorf("a time comes back in UTC: got %v", back.Location())
			}
		})
	}
}

func TestTimeScan(t *testing.T) {
	at := store.At(time.Now())
	if err := at.Scan(nil); err != nil || !at.IsZero() {
		t.Errorf("NULL is the zero time: got %v, %v", at, err)
	}
	if err := at.Scan("2024-01-01"); err == nil {
		t.Error("a column that is not a BIGINT is an error")
	}
}
