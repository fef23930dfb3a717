//go:build linux

package powercut

// Names says when the names in directories become durable.
type Names int

const (
	// Strict: by an fsync of their directory and by nothing else. A rename
	// between two directories is one change, durable when either is synced.
	Strict Names = iota
	// Ordered: in the order in which they were changed; an fsync of a file or
	// directory takes with it every change up to the last that concerns it.
	Ordered
)

// Config says what kind of disk it is.
type Config struct {
	// Seed is where every choice of the rig comes from: what survives of what was
	// not synced. What programs do meanwhile is theirs, so that a seed makes a
	// failure likely again, not certain.
	Seed uint64
	// Names says when names become durable. Zero: Strict.
	Names Names
	// Clean is a cut after which exactly that is there which was synced. False:
	// any part of the rest survives too, torn and out of order.
	Clean bool
}

// Loss says what a cut did.
type Loss struct {
	// Lost and Kept are pages of 4 KiB that were written and not synced, and
	// Torn those of Kept of which only some sectors survived.
	Lost, Kept, Torn int
	// NamesLost and NamesKept are changes of names that were not synced.
	NamesLost, NamesKept int
}
