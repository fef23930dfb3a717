package discovery

import (
	"context"
	"log/slog"
	"slices"
)

// Resolver tells where services are reached.
//
//  1. Watch reports the set of a service soon after it is called, again whenever
//     the set changes, and only then. It goes on until ctx ends, and returns
//     after its last report. Reports of one watch come one after the other.
//  2. A report without an error is the whole set: addresses as host:port, sorted,
//     each once. The slice is the receiver's.
//  3. A service that nobody serves has the empty set; that is not an error.
//  4. A report with an error says that the source could not be asked. What was
//     reported before stays true as far as anyone knows. The watch tries again by
//     itself, ever more slowly and with a random pause, and the first answer
//     after an error is reported even when nothing changed.
//  5. A value from again asks to look now, because an address did not answer.
//     Looking is still bounded to a sane rate. Sources that push changes need no
//     hint and ignore it. Nil: there are none.
//  6. All methods are safe for concurrent use.
type Resolver interface {
	Watch(ctx context.Context, service string, again <-chan struct{}, report func(addrs []string, err error))
}

// Registrar announces where a service is reached.
//
//  1. When Register returns without an error, watches see the address, or will
//     in a moment. ctx bounds the call only.
//  2. The registration is kept until it is withdrawn: renewed well within its
//     time to live, and made again when the source has lost it.
//  3. When the process dies, or is cut off, the address goes within the time to
//     live, or soon after.
//  4. All methods are safe for concurrent use.
type Registrar interface {
	Register(ctx context.Context, r Registration) (Lease, error)
}

// Lease is a registration that is kept.
type Lease interface {
	// Withdraw takes the address out and stops keeping it; when it returns
	// without an error, watches see that, or will in a moment. It is idempotent.
	// When it fails, the registration is no longer renewed and ends by itself.
	Withdraw(ctx context.Context) error
}

// Discovery is an adapter that is open. One that can register is a [Registrar] too.
type Discovery interface {
	Resolver
	// Close ends what the adapter itself runs. Watches end by their contexts
	// and leases by Withdraw, before.
	Close() error
}

// Opener connects to a discovery.
type Opener interface {
	Open(ctx context.Context, o OpenOptions) (Discovery, error)
}

// OpenOptions is what an [Opener] needs to know.
type OpenOptions struct {
	// URL is the setting that chose the adapter, as in "etcd://127.0.0.1:2379".
	URL string
	// Log receives what an operator should know. Nil: discarded.
	Log *slog.Logger
}

// Logger returns the log, or one that discards.
func (o OpenOptions) Logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// Distinct puts in front of a report what rules 1, 2 and 4 of [Resolver] ask
// for: sets are sorted, without doubles, and reported when they differ from the
// last one or follow an error. It is for adapters; like the report itself, it is
// not for concurrent use.
func Distinct(report func(addrs []string, err error)) func(addrs []string, err error) {
	var last []string
	known := false
	return func(addrs []string, err error) {
		if err != nil {
			known = false
			report(nil, err)
			return
		}
		set := slices.Clone(addrs)
		slices.Sort(set)
		set = slices.Compact(set)
		if known && slices.Equal(set, last) {
			return
		}
		known, last = true, set
		report(slices.Clone(set), nil)
	}
}
