package argosytest

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/argosy-go/argosy/rpc"
)

// Fate is what becomes of a call on a [Network].
type Fate int

// The fates.
const (
	// Arrives: the call and its reply.
	Arrives Fate = iota
	// RequestLost: the handler never hears of it; the caller waits in vain.
	RequestLost
	// ReplyLost: the handler has done it; the caller waits in vain.
	ReplyLost
	// Late: the caller is told at once that the connection broke, and the
	// handler gets the request after all, [Lateness] later: what the caller did
	// next may have overtaken it.
	Late
	// Repeated: the handler gets it twice and the caller the second reply. It
	// befalls only calls that the contract declares safe to send again.
	Repeated
)

// Lateness is how much later a [Late] request comes.
const Lateness = 200 * time.Millisecond

// Call is a call between two services.
type Call struct {
	// From is the calling service, Method the full name of what it calls.
	From, Method string
	// Nth counts this service's calls of this method, from 1.
	Nth int
}

// Network is between the services of a fleet, below the guards: what it does
// to a call is what a real network does, and what the guards see. Streams pass
// untouched. It is safe for concurrent use; its fields are set before the fleet
// starts. The zero value delivers everything at once.
type Network struct {
	// Seed makes the rates below come out the same again, as far as the calls do.
	Seed uint64
	// LoseRequests, LoseReplies, Delays and Repeats are shares of the calls, 0
	// to 1, that are [RequestLost], [ReplyLost], [Late] and [Repeated].
	LoseRequests, LoseReplies, Delays, Repeats float64
	// Delay is the longest that a request takes. Zero: no time.
	Delay time.Duration
	// Decide, when it is set, decides instead of the rates.
	Decide func(Call) Fate

	mu    sync.Mutex
	dice  *rand.Rand
	calls map[Call]int
	late  sync.WaitGroup
	under atomic.Int64 // requests that are late and have not come
}

// errLost is what a caller sees when its connection breaks.
var errLost = status.Error(codes.Unavailable, "the connection was lost")

// between is argosy.Program.Network.
func (n *Network) between(from, contract string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	safe := map[string]bool{}
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(contract)); err == nil {
		if d, ok := d.(protoreflect.ServiceDescriptor); ok {
			for name, m := range rpc.Methods(d) {
				safe[name] = m.Retryable
			}
		}
	}
	return &link{ClientConnInterface: conn, network: n, from: from, safe: safe}
}

// fate decides on a call and how long its request takes.
func (n *Network) fate(from, method string, safe bool) (Fate, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dice == nil {
		n.dice, n.calls = rand.New(rand.NewPCG(n.Seed, 1)), map[Call]int{}
	}
	call := Call{From: from, Method: method}
	n.calls[call]++
	call.Nth = n.calls[call]
	delay := time.Duration(0)
	if n.Delay > 0 {
		delay = time.Duration(n.dice.Int64N(int64(n.Delay)))
	}
	fate, throw := Arrives, n.dice.Float64()
	switch {
	case n.Decide != nil:
		fate = n.Decide(call)
	case throw < n.LoseRequests:
		fate = RequestLost
	case throw < n.LoseRequests+n.LoseReplies:
		fate = ReplyLost
	case throw < n.LoseRequests+n.LoseReplies+n.Delays:
		fate = Late
	case throw < n.LoseRequests+n.LoseReplies+n.Delays+n.Repeats:
		fate = Repeated
	}
	if fate == Repeated && !safe {
		fate = Arrives
	}
	return fate, delay
}

// link is the connection of one service to one contract.
type link struct {
	grpc.ClientConnInterface
	network *Network
	from    string
	safe    map[string]bool
}

// Invoke implements [grpc.ClientConnInterface].
func (l *link) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	fate, delay := l.network.fate(l.from, method, l.safe[method])
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	switch fate {
	case RequestLost:
		return errLost
	case Late:
		l.deliverLate(ctx, method, args, reply)
		return errLost
	}
	err := l.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	switch fate {
	case ReplyLost:
		return errLost
	case Repeated:
		return l.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	}
	return err
}

// deliverLate sends the request again on its way, which nobody waits for.
func (l *link) deliverLate(ctx context.Context, method string, args, reply any) {
	request, ok := args.(proto.Message)
	answer, also := reply.(proto.Message)
	if !ok || !also {
		return
	}
	request, answer = proto.Clone(request), answer.ProtoReflect().New().Interface() // the caller's are its own
	ctx = context.WithoutCancel(ctx)
	l.network.under.Add(1)
	l.network.late.Go(func() {
		defer l.network.under.Add(-1)
		<-time.After(Lateness)
		ctx, cancel := context.WithTimeout(ctx, Lateness)
		defer cancel()
		_ = l.ClientConnInterface.Invoke(ctx, method, request, answer) // nobody listens
	})
}

// settle waits until nothing is under way any more.
func (n *Network) settle() {
	if n != nil {
		n.late.Wait()
	}
}
