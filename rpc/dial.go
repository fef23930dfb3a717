package rpc

import (
	"context"
	"io"
	"net/url"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/argosy-go/argosy/discovery"
)

// DialOptions configure a connection over the network.
type DialOptions struct {
	// Token returns the bearer token of the calling service, for each call.
	// Nil: none is sent.
	Token func(ctx context.Context) (string, error)
	// Credentials secure the connections: [ClientTLS], or [Plaintext]. Nil:
	// messages travel in the clear, and only on this machine.
	Credentials credentials.TransportCredentials
	// Discovery finds the endpoints of the target, which is then the name of a
	// service. Nil: the target says itself where it is.
	Discovery discovery.Resolver
	// Balance configures how calls are spread over the endpoints. The zero value
	// is right for most.
	Balance BalanceConfig
	// Endpoints is told how the endpoints stand, where they are found by a
	// discovery or named by the target. Nil: nobody is.
	Endpoints *Endpoints
}

// Dial returns a connection to the endpoints of a target: a service that a
// discovery finds, or what [discovery.ParseDNS] reads ("host:port",
// "10.0.0.1:9090|10.0.0.2:9090", "dns:///order.shop.svc:9090"), or else what
// grpc-go does ("unix:/run/order.sock"). It connects when it is first used, to
// each endpoint once, and again, after a random pause, when a connection breaks.
//
// A peer that is silent while a call is under way is asked for a sign of life
// after 30 s; after 10 s without one the connection counts as broken, and calls
// go to other endpoints.
func Dial(target string, o DialOptions) (grpc.ClientConnInterface, io.Closer, error) {
	return dial(target, o)
}

// Times of the sign of life that a client asks for.
const (
	silentFor   = 30 * time.Second
	answerAfter = 10 * time.Second
)

func dial(target string, o DialOptions, more ...grpc.DialOption) (grpc.ClientConnInterface, io.Closer, error) {
	opts := append(balancing(o.Balance),
		grpc.WithTransportCredentials(o.credentials()),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithDisableServiceConfig(), // retries are the guard's, and come from the contract
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		grpc.WithMaxHeaderListSize(maxHeaderBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: silentFor, Timeout: answerAfter}),
	)
	from := o.Discovery
	if d, err := discovery.ParseDNS(target); from == nil && err == nil {
		from = d
	}
	if from != nil {
		opts, target = append(opts, grpc.WithResolvers(endpoints{from, o.Endpoints})), Scheme+":///"+url.PathEscape(target)
	}
	if o.Token != nil {
		opts = append(opts, grpc.WithPerRPCCredentials(&bearer{token: o.Token}))
	}
	conn, err := grpc.NewClient(target, append(opts, more...)...)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn, nil
}

// bearer sends a token with each call.
type bearer struct {
	token func(ctx context.Context) (string, error)
	last  atomic.Pointer[credential]
}

// credential is a token as it is sent. It is made once for many calls: grpc-go
// copies what is in the map.
type credential struct {
	token    string
	metadata map[string]string
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b *bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.token(ctx)
	if err != nil {
		return nil, err
	}
	c := b.last.Load()
	if c == nil || c.token != token {
		c = &credential{token, map[string]string{"authorization": "Bearer " + token}}
		b.last.Store(c)
	}
	return c.metadata, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (*bearer) RequireTransportSecurity() bool { return false }
