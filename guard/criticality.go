package guard

// Criticality says what a call is worth when not all calls can be served. It
// travels with the call and the calls that are made to serve it. The zero
// value is Default.
type Criticality uint8

const (
	// Default is what a call is worth when nobody says otherwise.
	Default Criticality = iota
	// Sheddable is work that may be lost or come later: prefetching, reports,
	// batches. It is the first to be refused.
	Sheddable
	// Critical is what is served as long as anything is: an order that is being
	// paid, a compensation. Only services of the fleet may ask for it.
	Critical
)

// String returns "default", "sheddable" or "critical", which is also how the
// value is sent.
func (c Criticality) String() string {
	switch c {
	case Sheddable:
		return "sheddable"
	case Critical:
		return "critical"
	default:
		return "default"
	}
}

// ParseCriticality is the inverse of [Criticality.String]. What is not one of
// the three is Default: a caller of another release must not fail for it.
func ParseCriticality(s string) Criticality {
	switch s {
	case "sheddable":
		return Sheddable
	case "critical":
		return Critical
	default:
		return Default
	}
}

// Share returns how many of limit calls may be under way when one of this
// worth is let in: what is worth less leaves room for what is worth more. At
// least one, so that a small limit starves nobody.
func (c Criticality) Share(limit int64) int64 {
	switch c {
	case Critical:
		return limit
	case Sheddable:
		return (limit*3 + 3) / 4
	default:
		return (limit*9 + 9) / 10
	}
}
