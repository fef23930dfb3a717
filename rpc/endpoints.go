package rpc

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/resolver"

	"github.com/argosy-go/argosy/discovery"
)

// Scheme is the scheme of the targets that a [Balanced] connection resolves, as
// in "argosy:///order".
const Scheme = "argosy"

// connectTimeout is how long an attempt to connect may take: a lost SYN is sent
// again after one second, and a partition that has healed must be noticed soon.
const connectTimeout = 2 * time.Second

// Balanced returns what makes a connection of grpc-go find its endpoints through
// a discovery and spread its calls over them:
//
//	opts := append(rpc.Balanced(d, rpc.BalanceConfig{}), grpc.WithTransportCredentials(creds))
//	conn, err := grpc.NewClient("argosy:///order", opts...)
//
// It is for connections that [Dial] does not make.
func Balanced(d discovery.Resolver, c BalanceConfig) []grpc.DialOption {
	return append(balancing(c), grpc.WithResolvers(endpoints{from: d}))
}

// balancing returns what makes a connection use the balancer. The pauses between
// attempts to connect are the balancer's, so grpc-go's own are as good as none.
func balancing(c BalanceConfig) []grpc.DialOption {
	settings, err := json.Marshal(map[string]any{"loadBalancingConfig": []map[string]any{{balancerName: c}}})
	if err != nil {
		panic(err) // numbers and a string: there is nothing that could fail
	}
	return []grpc.DialOption{
		grpc.WithDefaultServiceConfig(string(settings)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond},
			MinConnectTimeout: connectTimeout,
		}),
	}
}

// endpoints builds resolvers of grpc-go over a discovery.
type endpoints struct {
	from discovery.Resolver
	seen *Endpoints // nil: nobody looks
}

// seenKey is the key of an Endpoints among the attributes of a resolver's state.
type seenKey struct{}

// seenBy returns who looks at the endpoints of a connection: grpc-go hands a
// balancer nothing else that is the connection's own.
func seenBy(s resolver.State) *Endpoints {
	e, _ := s.Attributes.Value(seenKey{}).(*Endpoints)
	return e
}

// Scheme implements resolver.Builder.
func (e endpoints) Scheme() string { return Scheme }

// Build implements resolver.Builder: it watches until the resolver is closed.
func (e endpoints) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &endpointWatch{stop: cancel, again: make(chan struct{}, 1)}
	w.running.Go(func() {
		e.from.Watch(ctx, target.Endpoint(), w.again, func(addrs []string, err error) {
			if err != nil {
				cc.ReportError(err)
				return
			}
			s := resolver.State{Endpoints: make([]resolver.Endpoint, len(addrs)), Attributes: attributes.New(seenKey{}, e.seen)}
			for i, a := range addrs {
				s.Endpoints[i].Addresses = []resolver.Address{{Addr: a}}
			}
			// The error says that the set is empty; the watch reports the next one.
			_ = cc.UpdateState(s)
		})
	})
	return w, nil
}

// endpointWatch is the watch of one connection.
type endpointWatch struct {
	stop    context.CancelFunc
	again   chan struct{}
	running sync.WaitGroup
}

// ResolveNow implements resolver.Resolver: the discovery is hinted to look again.
func (w *endpointWatch) ResolveNow(resolver.ResolveNowOptions) {
	select {
	case w.again <- struct{}{}:
	default: // a hint waits already
	}
}

// Close implements resolver.Resolver.
func (w *endpointWatch) Close() {
	w.stop()
	w.running.Wait()
}
