package store

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// Time is an instant in a BIGINT column, in microseconds since the Unix epoch,
// UTC. It is the portable way to store time: every engine orders it alike. The
// zero Time is stored as 0 and read back as the zero time.Time.
type Time struct{ time.Time }

// At returns t as a column value. What is finer than a microsecond is cut off.
func At(t time.Time) Time { return Time{t} }

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return int64(0), nil
	}
	return t.UnixMicro(), nil
}

// Scan implements sql.Scanner. NULL is the zero time.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		t.Time = time.Time{}
	case int64:
		if v == 0 {
			t.Time = time.Time{}
			return nil
		}
		t.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("store.Time: cannot read a %T: the column must be a BIGINT of microseconds", src)
	}
	return nil
}
