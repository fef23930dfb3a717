package event

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/argosy-go/argosy/broker"
	"github.com/argosy-go/argosy/service"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations
var embedded embed.FS

// Migrations returns the migrations of the tables of this package. A service
// that publishes or consumes has them already; they are for tools and tests.
func Migrations() fs.FS { return embedded }

// settings are the settings of the events of a service.
type settings struct {
	OutboxLimit      int           `default:"1000000" usage:"how many events may wait for the broker before publishing is refused"`
	LeaseTTL         time.Duration `default:"15s" usage:"how long a replica that does not report keeps what it works on from the others"`
	InboxMaxAge      time.Duration `default:"216h" usage:"how long a consumer remembers an event; never less than a day longer than the broker keeps it"`
	DeadLetterMaxAge time.Duration `default:"0" usage:"how long a dead letter is kept; 0 until it is replayed or discarded"`
}

// defaults are the settings of a service that is configured by nobody.
func defaults() settings {
	return settings{OutboxLimit: 1_000_000, LeaseTTL: 15 * time.Second, InboxMaxAge: 9 * 24 * time.Hour}
}

// valid says what is wrong with the settings.
func (s settings) valid() error {
	switch {
	case s.OutboxLimit < 1:
		return fmt.Errorf("OutboxLimit is %d and must be positive", s.OutboxLimit)
	case s.LeaseTTL <= 0, s.InboxMaxAge <= 0:
		return fmt.Errorf("LeaseTTL is %v and InboxMaxAge is %v, and both must be positive", s.LeaseTTL, s.InboxMaxAge)
	case s.DeadLetterMaxAge < 0:
		return fmt.Errorf("DeadLetterMaxAge is %v and must not be negative", s.DeadLetterMaxAge)
	}
	return nil
}

// runtime is what one service keeps for its events.
type runtime struct {
	setup     *service.Setup
	db        *store.DB
	settings  settings
	metrics   *metrics
	topics    []broker.Topic
	consumers []*consumer
	roster    *roster

	depth    atomic.Int64 // unsent events, nearly
	declared atomic.Bool  // the broker knows the topics
}

// runtimeOf returns the runtime of the service, which it makes on first use.
func runtimeOf(s *service.Setup) *runtime {
	return service.Part(s, func() *runtime {
		r := &runtime{
			setup:    s,
			db:       s.DB(nil),
			settings: defaults(),
			metrics:  newMetrics(s.Telemetry().Registry(), s.Name()),
		}
		r.roster = newRoster(r)
		r.db.Migrations(store.LeaseSet, store.LeaseMigrations())
		r.db.Migrations("argosy_event", Migrations())
		s.UseBroker()
		s.Config(&r.settings)
		s.OnStart("events", r.start)
		r.admin()
		s.Worker(service.Worker{Stage: service.Output, Name: "outbox relay", Run: r.relay})
		s.Worker(service.Worker{Stage: service.Work, Name: "outbox survey", Run: r.watch})
		s.Worker(service.Worker{Stage: service.Work, Name: "inbox janitor", Run: r.janitor})
		return r
	})
}

// addTopic adds a topic to what is declared to the broker.
func (r *runtime) addTopic(name string) {
	for _, t := range r.topics {
		if t.Name == name {
			return
		}
	}
	r.topics = append(r.topics, broker.Topic{Name: name, Partitions: partitions})
}

// start declares the topics, and takes the positions of consumers that begin
// now; the others lose nothing when their workers subscribe, beside the start
// of everything else. A broker that is away does not keep the service from
// starting: its workers go on trying.
func (r *runtime) start(ctx context.Context) error {
	if r.setup.Broker() == nil {
		return errors.New("events need a broker, and none was opened")
	}
	if err := r.settings.valid(); err != nil {
		return fmt.Errorf("the events of %s: %w", r.setup.Name(), err)
	}
	if err := r.survey(ctx); err != nil {
		return err
	}
	err := r.open(ctx)
	if errors.Is(err, broker.ErrUnavailable) {
		r.setup.Log().Warn("the broker is away: events wait until it is back", "error", err)
		return nil
	}
	return err
}

func (r *runtime) open(ctx context.Context) error {
	if err := r.declare(ctx); err != nil {
		return err
	}
	var g errgroup.Group
	for _, c := range r.consumers {
		if c.from != broker.FromNow {
			continue
		}
		g.Go(func() error { return r.begin(ctx, c) })
	}
	return g.Wait()
}

// begin takes the positions of a consumer that begins now. Where another
// replica is at work on it, there is one already.
func (r *runtime) begin(ctx context.Context, c *consumer) error {
	for _, s := range r.spans() {
		f := &fetcher{runtime: r, consumer: c, span: s}
		h, free, err := r.claim(ctx, leaseName(f.group(), s))
		if err != nil {
			return err
		}
		if !free {
			continue
		}
		receiver, err := f.subscribe(ctx)
		if err == nil {
			err = receiver.Close()
		}
		if err := errors.Join(err, h.release(ctx)); err != nil {
			return fmt.Errorf("consumer %s: %w", c.durable, err)
		}
	}
	return nil
}

// declare tells the broker of the topics, once.
func (r *runtime) declare(ctx context.Context) error {
	if r.declared.Load() {
		return nil
	}
	if err := r.setup.Broker().Declare(ctx, r.topics...); err != nil {
		return fmt.Errorf("declare the topics of %s: %w", r.setup.Name(), err)
	}
	r.declared.Store(true)
	return nil
}
