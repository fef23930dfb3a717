//go:build unix

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/argosy-go/argosy/e2e/mill/millpb"
	"github.com/argosy-go/argosy/fault"
)

// What the mill can do is far below what the machine can: 100 calls a second,
// by four workers that sleep for 40 ms each.
const (
	millTakes    = 40 * time.Millisecond
	millCapacity = 100
	millPatience = time.Second // of a customer
	normalRate   = 70 * millCapacity / 100
)

// TestAnOverloadAndAnOutageCostLittleAndAreOverSoon runs a kiosk and the mill
// that it calls as two processes, with customers who come when they come,
// whatever becomes of the others.
func TestAnOverloadAndAnOutageCostLittleAndAreOverSoon(t *testing.T) {
	o := newOutage(t)
	o.phase("healthy", normalRate, 2*time.Second, nil)
	o.overload()
	o.phase("calm", normalRate, 2*time.Second, nil)
	o.phase("broken", normalRate, 3*time.Second, func() { o.become(millTakes, true) })
	o.phase("dead", normalRate, 3*time.Second, func() {
		o.mill.kill()
		o.ground = 0
	})
	o.phase("back", normalRate, 6*time.Second, o.startMill)
	slow := o.phase("10× slower", normalRate, 10*time.Second, func() { o.become(10*millTakes, false) })
	o.phase("as before", normalRate, 6*time.Second, func() { o.become(millTakes, false) })
	o.end()
	t.Log(o.report())

	for _, p := range o.phases {
		offered := len(p.begun(0, p.to-p.from))
		more := offered/10 + 10 // ten are in the budget's reserve, for callers that are quiet
		if p.retries > more || p.arrivals > offered+p.underWay()+more || p.connections > more {
			t.Errorf("%s: %d requests, and %d that were under way, became %d calls, %d retries and %d connections",
				p.name, offered, p.underWay(), p.arrivals, p.retries, p.connections)
		}
	}
	if served := good(slow.begun(6*time.Second, 10*time.Second)) / 4; served*10 < millCapacity/2 {
		t.Errorf("ten times slower, %d a second are served, less than half of what it can do", served)
	}
	for _, name := range []string{"back", "as before"} {
		late := o.at(name).begun(5*time.Second, 6*time.Second)
		if len(late) == 0 || good(late)*10 < len(late)*9 {
			t.Errorf("%s: later than 5 s after, %d of %d requests were served", name, good(late), len(late))
		}
	}
}

// overload compares what is served at the peak with what is at ten times the
// load. The processor is not the test's alone: the two are measured one after
// the other, and once more, or twice, where they differ.
func (o *outage) overload() {
	o.t.Helper()
	var served, peak float64
	for range 3 {
		peak = o.phase("at its peak", millCapacity, 3*time.Second, nil).goodput(settle)
		served = o.phase("10× the load", 10*millCapacity, 4*time.Second, nil).goodput(settle)
		if served >= 0.9*peak {
			return
		}
	}
	o.t.Errorf("at 10× the load %.0f a second are served, less than 90%% of the healthy peak of %.0f", served, peak)
}

// outage is a kiosk, a mill, a door between them that counts, and customers.
type outage struct {
	t           *testing.T
	bin         string
	dir         string
	mill, kiosk *fleet
	conn        *grpc.ClientConn // to the kiosk
	door        net.Listener
	target      atomic.Pointer[string] // where the mill listens
	opened      atomic.Int64           // connections that went through the door
	ground      int                    // calls that the mill had counted when the phase began
	work        sync.WaitGroup         // of the door
	buying      sync.WaitGroup         // of the customers
	stop        context.CancelFunc
	rate        atomic.Int64
	start       time.Time

	mu       sync.Mutex
	requests []request
	phases   []*phase
}

// request is what became of a customer.
type request struct {
	at     time.Duration // when it began
	took   time.Duration
	failed string // the reason; empty: it was served
}

// buildMill returns the program of the kiosk and the mill.
func buildMill(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(binaries, "mill")
	if out, err := exec.Command("go", "build", "-o", bin, "./mill").CombinedOutput(); err != nil {
		t.Fatalf("build mill: %v\n%s", err, out)
	}
	return bin
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{t: t, bin: buildMill(t), dir: t.TempDir()}
	o.startMill()
	var err error
	if o.door, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	o.work.Go(o.attend)
	o.kiosk = start(t, o.bin, o.dir, "ARGOSY_ONLY=kiosk", "ARGOSY_PEERS=mill="+o.door.Addr().String())
	if o.conn, err = grpc.NewClient(o.kiosk.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	o.stop, o.start = cancel, time.Now()
	t.Cleanup(o.end)
	o.rate.Store(normalRate)
	o.buying.Go(func() { o.customers(ctx) })
	return o
}

func (o *outage) startMill() {
	o.mill = start(o.t, o.bin, o.dir, "ARGOSY_ONLY=mill", "MILL_TAKES="+millTakes.String())
	o.target.Store(&o.mill.addrs.GRPC)
}

// end lets the customers go, and ends the kiosk, so that no connection is left.
// It may be called twice.
func (o *outage) end() {
	o.stop()
	o.buying.Wait()
	_ = o.conn.Close()
	o.kiosk.killGroup()
	_ = o.door.Close()
	o.work.Wait()
}

// attend lets connections of the kiosk through to the mill, wherever it is now.
func (o *outage) attend() {
	for {
		from, err := o.door.Accept()
		if err != nil {
			return
		}
		o.opened.Add(1)
		o.work.Go(func() {
			defer from.Close()
			to, err := net.Dial("tcp", *o.target.Load())
			if err != nil {
				return
			}
			defer to.Close()
			back := make(chan struct{})
			go func() { // waited for below
				defer close(back)
				_, _ = io.Copy(from, to) // however it ends, it is the end
				_ = from.Close()
			}()
			_, _ = io.Copy(to, from)
			_ = to.Close()
			<-back
		})
	}
}

// stall is how long customers may be kept by a machine that has no time for
// them: the others stay away, and do not come all at once.
const stall = 50 * time.Millisecond

// customers come at the rate until ctx ends.
func (o *outage) customers(ctx context.Context) {
	client := millpb.NewKioskClient(o.conn)
	due, last := 0.0, time.Now()
	for tick := time.Tick(2 * time.Millisecond); ctx.Err() == nil; <-tick {
		now := time.Now()
		due += min(now.Sub(last), stall).Seconds() * float64(o.rate.Load())
		last = now
		for ; due >= 1; due-- {
			o.buying.Go(func() { o.buy(context.WithoutCancel(ctx), client) }) // who is there is served
		}
	}
}

// buy is one customer.
func (o *outage) buy(ctx context.Context, client millpb.KioskClient) {
	ctx, cancel := context.WithTimeout(ctx, millPatience)
	defer cancel()
	r := request{at: time.Since(o.start)}
	_, err := client.Buy(ctx, &millpb.BuyRequest{})
	r.took = time.Since(o.start) - r.at
	if e := fault.From(err); e != nil {
		r.failed = cmp.Or(e.Reason, e.Code.String())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, r)
}

// become tells the mill, not through the door.
func (o *outage) become(takes time.Duration, broken bool) {
	o.t.Helper()
	conn, err := grpc.NewClient(o.mill.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := millpb.NewMillClient(conn).Become(o.t.Context(), &millpb.BecomeRequest{TakesMs: int32(takes.Milliseconds()), Broken: broken}); err != nil {
		o.t.Fatal(err)
	}
}

// phase is a time with one rate and one mill, and what was counted in it.
type phase struct {
	o           *outage
	name        string
	from, to    time.Duration
	arrivals    int // calls that ended at the mill, those that it refused included
	retries     int // by the kiosk
	refused     int // by the kiosk's breaker
	connections int // of the kiosk through the door
}

// phase changes something and watches for a while, which begins when the
// change is made.
func (o *outage) phase(name string, rate int, lasts time.Duration, change func()) *phase {
	o.t.Helper()
	p := &phase{o: o, name: name}
	if change != nil {
		change()
	}
	o.rate.Store(int64(rate))
	p.from, p.arrivals = time.Since(o.start), -o.ground
	o.count(p, -1)
	<-time.After(lasts)
	p.to = time.Since(o.start)
	if o.mill.alive() {
		o.ground = o.mill.metric("argosy_rpc_server_handled_total", "/Grind")
	}
	p.arrivals += o.ground
	o.count(p, 1)
	o.phases = append(o.phases, p)
	return p
}

// count adds what the kiosk has counted so far, or takes it off.
func (o *outage) count(p *phase, sign int) {
	p.retries += sign * o.kiosk.metric("argosy_guard_retries_total", "/Grind")
	p.refused += sign * o.kiosk.metric("argosy_guard_breaker_refused_total", "/Grind")
	p.connections += sign * int(o.opened.Load())
}

// alive reports whether the process runs.
func (f *fleet) alive() bool {
	select {
	case <-f.exited:
		return false
	default:
		return true
	}
}

// metric adds up the series of a metric whose labels contain something.
func (f *fleet) metric(name, with string) int {
	f.t.Helper()
	resp, err := http.Get("http://" + f.addrs.Admin + "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if strings.HasPrefix(series, name+"{") && strings.Contains(series, with) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				f.t.Fatal(err)
			}
			sum += n
		}
	}
	return int(sum)
}

func (o *outage) at(name string) *phase {
	return o.phases[slices.IndexFunc(o.phases, func(p *phase) bool { return p.name == name })]
}

// begun returns the requests of a phase that began after some time of it and
// before another.
func (p *phase) begun(after, before time.Duration) (in []request) {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	for _, r := range p.o.requests {
		if r.at >= p.from+after && r.at < min(p.from+before, p.to) {
			in = append(in, r)
		}
	}
	return in
}

func good(all []request) (n int) {
	for _, r := range all {
		if r.failed == "" {
			n++
		}
	}
	return n
}

// window is a piece of a phase over which rates are taken, and settle how long
// a phase has to find its rate.
const (
	window = 500 * time.Millisecond
	settle = time.Second
)

// goodput is how many are served in a second: the median of the windows from
// some time of the phase on.
func (p *phase) goodput(after time.Duration) float64 {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	served := make([]float64, (p.to-p.from-after)/window)
	for _, r := range p.o.requests {
		i := int((r.at + r.took - p.from - after) / window)
		if r.failed == "" && r.at+r.took >= p.from+after && i < len(served) {
			served[i] += 1 / window.Seconds()
		}
	}
	slices.Sort(served)
	return served[len(served)/2]
}

// recovered is when nine in ten requests are served again, and to the end of
// the phase.
func (p *phase) recovered() time.Duration {
	const step = 250 * time.Millisecond
	for at := (p.to - p.from) / step * step; at > 0; at -= step {
		if in := p.begun(at-step, at); good(in)*10 < len(in)*9 {
			return at
		}
	}
	return 0
}

// underWay is how many requests were, when the phase began.
func (p *phase) underWay() (n int) {
	p.o.mu.Lock()
	defer p.o.mu.Unlock()
	for _, r := range p.o.requests {
		if r.at < p.from && r.at+r.took > p.from {
			n++
		}
	}
	return n
}

func (o *outage) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a kiosk, and a mill that can do %d calls a second; customers wait %v\n", millCapacity, millPatience)
	fmt.Fprintf(&b, "%-14s %8s %6s %8s %8s %8s %8s %9s %7s   %s\n", "the mill", "requests", "good/s", "arrivals", "retries", "spared", "connects", "well from", "p99", "failures")
	for _, p := range o.phases {
		all := p.begun(0, p.to-p.from)
		why, took := map[string]int{}, []time.Duration{0}
		for _, r := range all {
			if r.failed != "" {
				why[r.failed]++
			} else {
				took = append(took, r.took)
			}
		}
		slices.Sort(took)
		fmt.Fprintf(&b, "%-14s %8d %6.0f %8d %8d %8d %8d %9v %7v  ", p.name, len(all), p.goodput(settle),
			p.arrivals, p.retries, p.refused, p.connections, p.recovered(), took[len(took)*99/100].Round(time.Millisecond))
		for _, reason := range slices.Sorted(maps.Keys(why)) {
			fmt.Fprintf(&b, " %s %d", reason, why[reason])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
