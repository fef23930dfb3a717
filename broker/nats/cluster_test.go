package nats_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/broker/brokertest"
	"github.com/argosy-go/argosy/broker/nats"
	"github.com/argosy-go/argosy/internal/natstest"
)

// TestACluster starts three servers once for all that is told of them.
func TestACluster(t *testing.T) {
	t.Parallel() // it waits for elections, most of the time
	c := natstest.Start(t, 3)
	t.Run("the number of replicas is the URL's, or three", func(t *testing.T) { replicasAreSaid(t, c) })
	t.Run("conformance", func(t *testing.T) {
		brokertest.Run(t, brokertest.Adapter{
			New: func(t *testing.T) func() broker.Broker {
				c.Drop("ARGOSY", "ARGOSY_PROBE")
				return func() broker.Broker { return connect(t, c.URL()) }
			},
			Patience: 40 * time.Second, // an election takes up to 9 s
		})
	})
	t.Run("nothing that was acknowledged is lost when the leader is killed, and order is kept", func(t *testing.T) { leaderIsKilled(t, c) })
}

func replicasAreSaid(t *testing.T, c *natstest.Cluster) {
	js := rawStream(t, c.URL())
	for _, tt := range []struct {
		parameter string
		want      int
	}{{"?replicas=1", 1}, {"", 1}, {"?replicas=3", 3}, {"", 3}} { // in this order: a stream that exists is kept
		b := connect(t, c.URL()+tt.parameter)
		for _, name := range []string{"ARGOSY", "ARGOSY_PROBE"} {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if n := s.CachedInfo().Config.Replicas; n != tt.want {
				t.Errorf("%q: %s has %d replicas, want %d", tt.parameter, name, n, tt.want)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	c.Drop("ARGOSY", "ARGOSY_PROBE")
	connect(t, c.URL())
	s, err := js.Stream(t.Context(), "ARGOSY")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().Config.Replicas; n != 3 {
		t.Errorf("a stream that is made in a cluster has %d replicas, want 3", n)
	}
	_, err = nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: c.URL() + "?replicas=5"})
	if !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("five replicas on three servers: %v", err)
	}
}

// leaderIsKilled publishes to partitions and consumes from them while the
// server that leads the stream is killed and comes back: with ARGOSY_LONG=1 six
// times, whichever leads then.
func leaderIsKilled(t *testing.T, c *natstest.Cluster) {
	const topic, partitions = "leader", 4
	c.Drop("ARGOSY", "ARGOSY_PROBE")
	flow := &flow{b: connect(t, c.URL()), topic: topic, stop: make(chan struct{}), acknowledged: make([][]string, partitions)}
	reader := connect(t, c.URL())
	read := flow.consume(t, reader, partitions)
	for p := range partitions {
		flow.work.Go(func() { flow.publish(t, p) })
	}
	flow.awaitMore(t, 300)
	kills := 1
	if os.Getenv("ARGOSY_LONG") != "" {
		kills = 6
	}
	for range kills {
		leader := c.Leader("ARGOSY")
		c.Kill(leader)
		flow.awaitMore(t, 300) // another one leads
		c.Restart(leader)
		c.AwaitReplicas("ARGOSY", 2)
		flow.awaitMore(t, 100)
	}
	close(flow.stop)
	flow.work.Wait()
	for p, want := range flow.acknowledged {
		end := broker.Message{ID: fmt.Sprint("end-", p), Topic: topic, Partition: p}
		publish(t, flow.b, []broker.Message{end})
		stored, twice := storedOnce(t, flow.b, topic, p, end.ID)
		if !slices.Equal(stored, want) {
			t.Errorf("partition %d: %d messages are stored and %d were acknowledged, or in another order", p, len(stored), len(want))
		}
		t.Logf("partition %d: %d messages, %d of them stored twice, %d publications failed meanwhile", p, len(want), twice, flow.failures.Load())
	}
	for p, got := range <-read {
		if want := append(slices.Clone(flow.acknowledged[p]), fmt.Sprint("end-", p)); !slices.Equal(got, want) {
			t.Errorf("partition %d: a consumer that knows ids has had %d messages, want %d, in order", p, len(got), len(want))
		}
	}
}

// flow publishes until it is stopped.
type flow struct {
	b            broker.Broker
	topic        string
	stop         chan struct{}
	work         sync.WaitGroup
	acknowledged [][]string
	count        atomic.Int64
	failures     atomic.Int64
}

// publish publishes numbered messages to a partition, some in one call, each
// call until all are acknowledged: as a relay does.
func (f *flow) publish(t *testing.T, p int) {
	for i := 0; ; i += 20 {
		select {
		case <-f.stop:
			return
		default:
		}
		ms := messages(f.topic, p, i, i+20)
		for errs := f.b.Publish(t.Context(), ms); errs != nil; errs = f.b.Publish(t.Context(), ms) {
			f.failures.Add(1)
			if t.Context().Err() != nil {
				return
			}
			pause(t)
		}
		for _, m := range ms {
			f.acknowledged[p] = append(f.acknowledged[p], m.ID)
		}
		f.count.Add(int64(len(ms)))
	}
}

// awaitMore returns when n more messages are acknowledged.
func (f *flow) awaitMore(t *testing.T, n int64) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for want := f.count.Load() + n; f.count.Load() < want; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%d messages are acknowledged, want %d", f.count.Load(), want)
		}
	}
}

// consume receives as an inbox does: what it has by its id it does not take
// again, and a subscription that ended is made anew. It sends the ids of each
// partition when it has had the message "end-<partition>" of all.
func (f *flow) consume(t *testing.T, b broker.Broker, partitions int) <-chan [][]string {
	s := broker.Subscription{Consumer: "through", Topic: f.topic}
	for p := range partitions {
		s.Partitions = append(s.Partitions, p)
	}
	open := func() broker.Receiver {
		for {
			r, err := b.Subscribe(t.Context(), s)
			if err == nil || t.Context().Err() != nil {
				return r
			}
			pause(t)
		}
	}
	read := make(chan [][]string, 1)
	got, seen, ends := make([][]string, partitions), map[string]bool{}, 0
	r := open()
	go func() {
		defer func() { read <- got }()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for ends < partitions {
			ds, err := r.Receive(ctx, 64)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				_ = r.Close() // it has ended
				r = open()
				continue
			}
			for _, d := range ds {
				_ = d.Ack() // a lost ack is a redelivery
				if seen[d.ID] {
					continue
				}
				seen[d.ID] = true
				if got[d.Partition] = append(got[d.Partition], d.ID); d.ID == fmt.Sprint("end-", d.Partition) {
					ends++
				}
			}
		}
		_ = r.Close()
	}()
	return read
}

// storedOnce reads the partition to the end mark; it returns the ids in the
// order in which each came first, and how many came again.
func storedOnce(t *testing.T, b broker.Broker, topic string, p int, end string) (ids []string, again int) {
	t.Helper()
	r, err := b.Subscribe(t.Context(), broker.Subscription{Consumer: "stored", Topic: topic, Partitions: []int{p}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for seen := map[string]bool{}; ; {
		ds, err := r.Receive(ctx, 256)
		if err != nil {
			t.Fatalf("partition %d: after %d messages: %v", p, len(ids), err)
		}
		for _, d := range ds {
			_ = d.Ack()
			switch {
			case d.ID == end:
				return ids, again
			case seen[d.ID]:
				again++
			default:
				seen[d.ID] = true
				ids = append(ids, d.ID)
			}
		}
	}
}

func TestAStreamThatDoesNotKeepEventsIsRefused(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	js := rawStream(t, server.URL())
	for why, change := range map[string]func(*jetstream.StreamConfig){
		"it is in memory":                  func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"it acknowledges before it writes": func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"it acknowledges nothing":          func(c *jetstream.StreamConfig) { c.NoAck = true },
		"it keeps what is wanted only":     func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"it keeps the last of a partition": func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
	} {
		t.Run(why, func(t *testing.T) {
			if err := js.DeleteStream(t.Context(), "ARGOSY"); err != nil {
				t.Fatal(err)
			}
			made := jetstream.StreamConfig{Name: "ARGOSY", Subjects: []string{"argosy.ev.>"}, Storage: jetstream.FileStorage}
			change(&made)
			if _, err := js.CreateStream(t.Context(), made); err != nil {
				t.Fatal(err)
			}
			b, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: server.URL(), Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				_ = b.Close()
				t.Fatal("it is taken")
			}
			t.Log(err)
		})
	}
}

func TestReplicasWithoutAClusterAreRefused(t *testing.T) {
	server := serve(t, t.TempDir(), "127.0.0.1:0")
	b, err := nats.Opener{}.Open(t.Context(), broker.OpenOptions{URL: server.URL() + "?replicas=3"})
	if err == nil {
		_ = b.Close()
		t.Fatal("one server keeps three replicas")
	}
	t.Log(err)
}
