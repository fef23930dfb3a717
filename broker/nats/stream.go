package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/fault"
)

const (
	streamName   = "ARGOSY"
	probeStream  = "ARGOSY_PROBE"
	probeSubject = "argosy.probe"
	// dedupe is how long the server knows the ids of messages. What is sent
	// again later is told apart by the inbox.
	dedupe        = 2 * time.Minute
	defaultMaxAge = 7 * 24 * time.Hour
	// clusterReplicas is how many servers of a cluster keep each message where
	// nothing else is said: a majority is left when one is lost.
	clusterReplicas = 3

	// The server's codes for more replicas than it has servers.
	noPeersCode    jetstream.ErrorCode = 10005
	noReplicasCode jetstream.ErrorCode = 10074
)

// makeStreams makes what is missing. A stream that exists keeps what its
// operator gave it, as the limit of its size; only what this package relies on
// is set, and the replicas where the URL says how many.
func (b *Broker) makeStreams(ctx context.Context, replicas int) error {
	events, err := b.ensure(ctx, jetstream.StreamConfig{
		Name: streamName, Subjects: []string{prefix + ">"}, Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Discard: jetstream.DiscardNew, MaxAge: b.maxAge, Duplicates: dedupe, AllowAtomicPublish: true, AllowDirect: true,
	}, replicas)
	if err != nil {
		return err
	}
	if b.atomicPublish = events.AllowAtomicPublish; !b.atomicPublish {
		b.log.Warn("the broker knows no atomic batches: messages are stored one by one, which is slow")
	}
	if replicas == 0 && b.clustered() && events.Replicas < clusterReplicas {
		b.log.Warn("events are kept by fewer servers of the cluster than can lose one and go on: ?replicas=3 in the broker's URL changes that",
			"stream", streamName, "replicas", events.Replicas)
	}
	_, err = b.ensure(ctx, jetstream.StreamConfig{
		Name: probeStream, Subjects: []string{probeSubject}, Storage: jetstream.FileStorage, MaxMsgs: 1, Discard: jetstream.DiscardOld,
	}, replicas)
	return err
}

// clustered reports whether the server is one of a cluster.
func (b *Broker) clustered() bool { return b.nc.ConnectedClusterName() != "" }

// ensure makes the stream, or brings the one that exists to what is wanted, and
// to that many replicas where they are not 0.
func (b *Broker) ensure(ctx context.Context, want jetstream.StreamConfig, replicas int) (jetstream.StreamConfig, error) {
	s, err := b.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if want.Replicas = replicas; replicas == 0 && b.clustered() {
			want.Replicas = clusterReplicas
		}
		s, err = b.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another process was quicker
			s, err = b.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return want, fmt.Errorf("make the stream %s: %w", want.Name, tooFew(err, want.Replicas))
	}
	have := s.CachedInfo().Config
	if err := keeps(have); err != nil {
		return want, err
	}
	set := have
	set.Subjects, set.MaxAge, set.AllowAtomicPublish = want.Subjects, want.MaxAge, want.AllowAtomicPublish
	set.Discard, set.Duplicates = want.Discard, max(have.Duplicates, want.Duplicates)
	if replicas > 0 {
		set.Replicas = replicas
	}
	if set.MaxAge == have.MaxAge && set.AllowAtomicPublish == have.AllowAtomicPublish && set.Discard == have.Discard &&
		set.Duplicates == have.Duplicates && set.Replicas == have.Replicas && strings.Join(set.Subjects, " ") == strings.Join(have.Subjects, " ") {
		return have, nil
	}
	if s, err = b.js.UpdateStream(ctx, set); err != nil {
		return want, fmt.Errorf("update the stream %s: %w", want.Name, tooFew(err, set.Replicas))
	}
	return s.CachedInfo().Config, nil
}

// tooFew tells what to do about an error that says that there are not as many
// servers as replicas.
func tooFew(err error, replicas int) error {
	switch code(err) {
	case noPeersCode:
		return broker.ErrUnavailable.Wrap(err).WithMessage("the cluster has no %d servers that can store: start them, or say by ?replicas=1 in the broker's URL that one is enough", replicas)
	case noReplicasCode:
		return errInvalid.Wrap(err).WithMessage("the server is in no cluster and keeps no %d replicas: take ?replicas out of the broker's URL", replicas)
	}
	return unavailable(err)
}

// keeps refuses a stream that somebody made such that it loses what it has
// acknowledged, or hands it to one consumer only. What the servers do below
// that, as when they sync, no client can see.
func keeps(c jetstream.StreamConfig) error {
	var wrong []string
	for why, is := range map[string]bool{
		"it is in memory (storage)":                                           c.Storage != jetstream.FileStorage,
		"it acknowledges before it writes (persist_mode)":                     c.PersistMode != jetstream.DefaultPersistMode,
		"it acknowledges nothing (no_ack)":                                    c.NoAck,
		"it deletes what was acknowledged or is wanted by nobody (retention)": c.Retention != jetstream.LimitsPolicy,
		"it deletes the oldest of a partition (max_msgs_per_subject)":         c.Name == streamName && c.MaxMsgsPerSubject > 0,
	} {
		if is {
			wrong = append(wrong, why)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return errUnsafe.WithMessage("the stream %s does not keep events: %s", c.Name, strings.Join(wrong, "; "))
}

// errUnsafe: the stream loses what it has acknowledged.
var errUnsafe = fault.New(codes.FailedPrecondition, "BROKER_STREAM_UNSAFE", "the broker's stream does not keep events")
