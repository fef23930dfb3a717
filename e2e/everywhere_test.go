package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/argosytest"
	"github.com/argosy-go/argosy/auth"
	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/internal/pgtest"
	"github.com/argosy-go/argosy/rpc"
	shopaudit "github.com/argosy-go/argosy/shop/audit"
	"github.com/argosy-go/argosy/shop/cart"
	"github.com/argosy-go/argosy/shop/catalog"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/shop/identity"
	"github.com/argosy-go/argosy/shop/inventory"
	"github.com/argosy-go/argosy/shop/notify"
	shoporder "github.com/argosy-go/argosy/shop/order"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/payment"
	"github.com/argosy-go/argosy/shop/seed"
	"github.com/argosy-go/argosy/shop/shipping"
	"github.com/argosy-go/argosy/shop/witness"
	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
	"github.com/argosy-go/argosy/store/postgres"
)

// thoroughVariable makes the tests crash everywhere, and not at some points.
const thoroughVariable = "ARGOSY_CRASH_EVERYWHERE"

// journey is what a customer does with an order.
type journey struct {
	name string
	do   func(*customer, context.Context) error
	ends string // where the order ends when nothing goes wrong outside
	// delivery is how long the carrier takes; zero: as usual, a second. What is
	// delivered is not taken back any more.
	delivery time.Duration
}

var journeys = []journey{
	{"fulfilment", (*customer).buy, "CONFIRMED", 0},
	{"cancellation", (*customer).buyAndCancel, "CANCELLED", time.Hour},
	{"refund", (*customer).buyAndReturn, "CANCELLED", time.Hour},
}

// trouble is what goes wrong outside, besides the crash.
type trouble struct {
	name  string
	token string
	// bank decides on the nth request of a kind (authorizations, captures, …) to the bank.
	bank func(kind string, nth int) manner
	// network decides on the calls between the services.
	network func(argosytest.Call) argosytest.Fate
	// patience is how long the shop waits for an answer of the bank. Zero: 2 s.
	patience time.Duration
	ends     string // "": as the journey does
}

// manner is how a partner answers.
type manner int

const (
	answers  manner = iota
	hangs           // it does nothing and says nothing
	hangsUp         // it does it and says nothing
	breaksUp        // it does it, and the connection breaks before the reply
)

var troubles = []trouble{
	{name: "nothing", token: bank.TokenOK},
	{name: "a declined card", token: bank.TokenDecline, ends: "CANCELLED"},
	{name: "one timeout of each kind", token: bank.TokenOK, patience: 500 * time.Millisecond, bank: func(_ string, nth int) manner {
		if nth == 1 {
			return hangsUp
		}
		return answers
	}},
	{name: "authorizations always time out", token: bank.TokenOK, patience: 300 * time.Millisecond, ends: "CANCELLED", bank: func(kind string, nth int) manner {
		if kind != "authorizations" {
			return answers
		}
		return []manner{hangs, hangsUp}[nth%2]
	}},
	{name: "each first reply is lost", token: bank.TokenOK, bank: func(_ string, nth int) manner {
		if nth == 1 {
			return breaksUp
		}
		return answers
	}, network: func(c argosytest.Call) argosytest.Fate {
		if c.Nth == 1 {
			return argosytest.ReplyLost
		}
		return argosytest.Arrives
	}},
	// As many as the guard sends for one attempt, so that a cancellation
	// overtakes what it cancels.
	{name: "the first three requests of each kind late", token: bank.TokenOK, network: func(c argosytest.Call) argosytest.Fate {
		if c.Nth <= 3 {
			return argosytest.Late
		}
		return argosytest.Arrives
	}},
}

// TestTheShopCrashedEverywhere kills the shop at every commit and every call
// to the broker of every journey in every trouble, and audits it. Without
// ARGOSY_CRASH_EVERYWHERE it does so at some points, a different choice for
// each pair.
func TestTheShopCrashedEverywhere(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { crashEverywhere(t, onSQLite, sample{most: 4, parallel: 6, every: 1}) })
	if pgtest.Available() {
		t.Run("Postgres", func(t *testing.T) { crashEverywhere(t, onPostgres(t), sample{most: 3, parallel: 3, every: 4}) })
	}
}

// backend gives a scenario its store; drop gives it back.
type backend func(t testing.TB, c *argosytest.Config) (drop func())

func onSQLite(testing.TB, *argosytest.Config) func() { return func() {} }

// onPostgres gives each scenario a copy of a database in which the shop has
// been started once: its first start takes longer than all that follows.
func onPostgres(t *testing.T) backend {
	url := pgtest.Database(t)
	f := argosytest.StartConfig(t, argosytest.Config{Services: crashed(), Store: crashStore, StoreURL: url})
	f.AwaitQuiet(t) // its broker goes with it
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	create := pgtest.Copies(t, url)
	return func(t testing.TB, c *argosytest.Config) func() {
		mine, drop := create(t)
		c.Store, c.StoreURL = crashStore, mine
		return drop
	}
}

// crashStore has few connections, since many fleets share one server.
var crashStore = postgres.Opener{MaxConns: 2}

// crashed are the services that are crashed.
func crashed() []argosy.Service {
	return []argosy.Service{
		identity.Service, catalog.Service, cart.Service, shoporder.Service, inventory.Service,
		payment.Service, shipping.Service, notify.Service,
	}
}

// sample is how thorough a test is that is not thorough: every so many
// scenarios, with the most points each.
type sample struct{ most, parallel, every int }

// alike are what a replica does for every partition of every consumer: it
// takes the leases when it begins, and gives them back when it ends.
var alike = map[string]int{"commit event.(*runtime).claim": 2, "commit event.(*hold).release": 2}

func crashEverywhere(t *testing.T, on backend, some sample) {
	var total, scenarios atomic.Int64
	t.Cleanup(func() { t.Logf("%d points of failure in %d scenarios", total.Load(), scenarios.Load()) })
	thorough := os.Getenv(thoroughVariable) != ""
	for i, j := range journeys {
		for k, tr := range troubles {
			if !thorough && (i+k)%some.every != 0 {
				continue
			}
			t.Run(j.name+" with "+tr.name, func(t *testing.T) {
				t.Parallel()
				plan := argosytest.Plan{Most: some.most, Seed: uint64(10*i + k), Parallel: some.parallel, Repeats: 8, RepeatsOf: alike}
				if thorough {
					plan.Most = 0
				}
				r := plan.CrashEverywhere(t, func(t testing.TB) argosytest.Scenario { return scenario(t, j, tr, on) })
				if r.Points == 0 {
					t.Error("there was no point to crash at")
				}
				total.Add(int64(r.Points))
				scenarios.Add(1)
			})
		}
	}
}

// customer is one customer, who outlives the crashes of the shop.
type customer struct {
	journey journey
	trouble trouble
	outside *partners
	store   string // URL; "": files

	mu           sync.Mutex
	acknowledged string // the order
}

func scenario(t testing.TB, j journey, tr trouble, on backend) argosytest.Scenario {
	dir, err := os.MkdirTemp("", "argosy-everywhere-") // not the test's: there are thousands
	if err != nil {
		t.Fatal(err)
	}
	c := &customer{journey: j, trouble: tr, outside: newPartners(t, dir, tr, j.delivery)}
	config := argosytest.Config{
		Services: crashed(),
		Dir:      dir,
		Network:  &argosytest.Network{Decide: c.decide},
		Args: []string{
			"--payment.bank-url=" + c.outside.bank, "--payment.bank-timeout=" + cmp.Or(tr.patience, 2*time.Second).String(),
			"--shipping.carrier-url=" + c.outside.carrier,
			"--identity.dev-users=false", // nobody signs in, and passwords are dear
		},
	}
	drop := on(t, &config)
	c.store = config.StoreURL
	return argosytest.Scenario{
		Config: config,
		Work: func(ctx context.Context, f *argosytest.Fleet) error {
			if err := c.outside.point(ctx, f); err != nil {
				return err
			}
			return j.do(c, contextOf(ctx, f))
		},
		Invariant: c.check,
		End: func() {
			c.outside.stop()
			drop()
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		},
	}
}

func (c *customer) decide(call argosytest.Call) argosytest.Fate {
	if c.trouble.network == nil {
		return argosytest.Arrives
	}
	return c.trouble.network(call)
}

type fleetKey struct{}

func contextOf(ctx context.Context, f *argosytest.Fleet) context.Context {
	return context.WithValue(ctx, fleetKey{}, f)
}

// orders returns the customer's client of the shop.
func orders(ctx context.Context) orderpb.OrdersClient {
	f := ctx.Value(fleetKey{}).(*argosytest.Fleet)
	return argosytest.Client(f, auth.Principal{Subject: "customer", Roles: []string{"customer"}}, orderpb.NewOrdersClient)
}

// buy places an order, always under the same key.
func (c *customer) buy(ctx context.Context) error {
	req := &orderpb.PlaceOrderRequest{PaymentToken: c.trouble.token}
	for _, p := range seed.Products()[:2] {
		req.Lines = append(req.Lines, &orderpb.OrderLine{ProductId: p.ID, Quantity: 2})
	}
	placed, err := orders(ctx).PlaceOrder(rpc.WithIdempotencyKey(ctx, "place"), req)
	if err != nil {
		return fmt.Errorf("place: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acknowledged != "" && c.acknowledged != placed.Id {
		return fmt.Errorf("one key made the orders %s and %s", c.acknowledged, placed.Id)
	}
	c.acknowledged = placed.Id
	return nil
}

func (c *customer) cancel(ctx context.Context) error {
	c.mu.Lock()
	id := c.acknowledged
	c.mu.Unlock()
	_, err := orders(ctx).CancelOrder(rpc.WithIdempotencyKey(ctx, "cancel"), &orderpb.CancelOrderRequest{Id: id, Reason: "changed my mind"})
	if e := fault.From(err); e != nil && e.Code == codes.FailedPrecondition {
		return nil // it was too late, and that is an answer
	}
	return err
}

func (c *customer) buyAndCancel(ctx context.Context) error {
	if err := c.buy(ctx); err != nil {
		return err
	}
	return c.cancel(ctx)
}

// buyAndReturn cancels what has been paid.
func (c *customer) buyAndReturn(ctx context.Context) error {
	if err := c.buy(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		o, err := orders(ctx).GetOrder(ctx, &orderpb.GetOrderRequest{Id: c.acknowledged})
		if err != nil {
			return err
		}
		if o.State != orderpb.State_PENDING {
			return c.cancel(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check audits the shop and looks where the order has ended.
func (c *customer) check(ctx context.Context, f *argosytest.Fleet) error {
	o, err := orders(contextOf(ctx, f)).GetOrder(ctx, &orderpb.GetOrderRequest{Id: c.acknowledged})
	if err != nil {
		return fmt.Errorf("the acknowledged order: %w", err)
	}
	want := c.journey.ends
	if c.trouble.ends != "" {
		want = c.trouble.ends
	}
	if o.State.String() != want {
		return fmt.Errorf("order %s ended %s, want %s: %v", o.Id, o.State, want, o)
	}
	r, err := shopaudit.Wait(ctx, shopaudit.Shop{Dir: f.Dir, Store: c.store}, 5*time.Second)
	if err != nil {
		return err
	}
	if !r.OK || !r.Quiet {
		return fmt.Errorf("the audit is red: %+v", r)
	}
	return nil
}

// partners are the bank and the carrier, with somebody on the line to the bank.
type partners struct {
	dir           string
	bank, carrier string // as the shop reaches them
	decide        func(kind string, nth int) manner
	addresses     []witness.Address

	mu    sync.Mutex
	times map[string]int
	proxy *httputil.ReverseProxy
	stop  func()
}

// newPartners starts them. A carrier takes as long to deliver, or as usual.
func newPartners(t testing.TB, dir string, tr trouble, delivery time.Duration) *partners {
	t.Helper()
	p := &partners{dir: partner.Directory(dir), decide: tr.bank, times: map[string]int{}}
	secret, err := partner.Secret(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	run := func(name string, serve func(context.Context, witness.Config) error) {
		ended.Go(func() {
			if err := serve(ctx, witness.Config{Dir: p.dir, Secret: secret, Seed: 1}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	run("bank", bank.Run)
	run("carrier", func(ctx context.Context, c witness.Config) error {
		return carrier.Run(ctx, carrier.Config{Config: c, Delivery: delivery})
	})
	p.carrier = p.find(t, "carrier")
	to, err := url.Parse(p.find(t, "bank"))
	if err != nil {
		t.Fatal(err)
	}
	p.proxy = httputil.NewSingleHostReverseProxy(to)
	p.proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // a shop that dies hangs up
	line := httptest.NewServer(p)
	p.bank = line.URL
	p.stop = func() { line.Close(); cancel(); ended.Wait() }
	return p
}

// find waits until a witness has said where it is.
func (p *partners) find(t testing.TB, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if a, ok := witness.Find(ctx, p.dir, name); ok {
			p.addresses = append(p.addresses, a)
			return a.URL()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the %s does not answer", name)
		}
	}
}

// point tells them where the shop is now.
func (p *partners) point(ctx context.Context, f *argosytest.Fleet) error {
	secret, err := partner.Secret(f.Dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, a := range p.addresses {
		errs = append(errs, witness.Point(ctx, a, "http://"+f.Addrs().HTTP+"/v1/webhooks/"+a.Name, secret))
	}
	return errors.Join(errs...)
}

// ServeHTTP is the line to the bank.
func (p *partners) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	how := answers
	if r.Method == http.MethodPost && p.decide != nil {
		kind := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		p.mu.Lock()
		p.times[kind]++
		nth := p.times[kind]
		p.mu.Unlock()
		how = p.decide(kind, nth)
	}
	switch how {
	case answers:
		p.proxy.ServeHTTP(w, r)
	case hangs:
		_, _ = io.Copy(io.Discard, r.Body) // only then is it noticed that the caller has gone
		<-r.Context().Done()
	default:
		p.proxy.ServeHTTP(&deaf{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
		if how == hangsUp {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
}

// deaf is a reply that nobody hears.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) WriteHeader(int)             {}
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
