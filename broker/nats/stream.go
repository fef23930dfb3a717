package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName   = "ARGOSY"
	probeStream  = "ARGOSY_PROBE"
	probeSubject = "argosy.probe"
	// dedupe is how long the server knows the ids of messages. What is sent
	// again later is told apart by the inbox.
	dedupe        = 2 * time.Minute
	defaultMaxAge = 7 * 24 * time.Hour
)

// makeStreams makes what is missing. A stream that exists keeps what its
// operator gave it, as the number of its replicas; only what this package
// relies on is set.
func (b *Broker) makeStreams(ctx context.Context) error {
	events, err := b.ensure(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{prefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxAge: b.maxAge, Duplicates: dedupe, AllowAtomicPublish: true, AllowDirect: true,
	})
	if err != nil {
		return err
	}
	if b.atomicPublish = events.AllowAtomicPublish; !b.atomicPublish {
		b.log.Warn("the broker knows no atomic batches: messages are stored one by one, which is slow")
	}
	_, err = b.ensure(ctx, jetstream.StreamConfig{
		Name: probeStream, Subjects: []string{probeSubject}, Storage: jetstream.FileStorage, MaxMsgs: 1, Discard: jetstream.DiscardOld,
	})
	return err
}

// ensure makes the stream, or brings the one that exists to what is wanted.
func (b *Broker) ensure(ctx context.Context, want jetstream.StreamConfig) (jetstream.StreamConfig, error) {
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = b.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was quicker
			s, err = b.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return want, fmt.Errorf("make the stream %s: %w", want.Name, unavailable(err))
	}
	have := s.CachedInfo().Config
	set := have
	set.Subjects, set.MaxAge, set.AllowAtomicPublish = want.Subjects, want.MaxAge, want.AllowAtomicPublish
	set.Discard, set.Duplicates = want.Discard, max(have.Duplicates, want.Duplicates)
	if set.MaxAge == have.MaxAge && set.AllowAtomicPublish == have.AllowAtomicPublish && set.Discard == have.Discard &&
		set.Duplicates == have.Duplicates && strings.Join(set.Subjects, " ") == strings.Join(have.Subjects, " ") {
		return have, nil
	}
	if s, err = b.js.UpdateStream(ctx, set); err != nil {
		return want, fmt.Errorf("update the stream %s: %w", want.Name, unavailable(err))
	}
	return s.CachedInfo().Config, nil
}

// redact hides passwords in a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			list[i] = u.Redacted()
		} else {
			list[i] = "(not a URL)"
		}
	}
	return strings.Join(list, ",")
}
