package main

import (
	"context"
	"io"
	"net"

	"github.com/go-kratos/kratos/v2/log"
	"github.com/go-kratos/kratos/v2/middleware/circuitbreaker"
	"github.com/go-kratos/kratos/v2/middleware/ratelimit"
	"github.com/go-kratos/kratos/v2/middleware/recovery"
	"github.com/go-kratos/kratos/v2/middleware/tracing"
	kgrpc "github.com/go-kratos/kratos/v2/transport/grpc"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
)

// unsampled is how a service traces whose traces nobody keeps.
func unsampled() tracing.Option {
	return tracing.WithTracerProvider(sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())))
}

// serveKratos serves with kratos and the middlewares that its documentation
// puts round a server. There are no tokens, access rules or metrics.
func serveKratos(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	log.SetLogger(log.NewFilter(log.DefaultLogger, log.FilterLevel(log.LevelError)))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := kgrpc.NewServer(kgrpc.Listener(l), kgrpc.Middleware(recovery.Recovery(), tracing.Server(unsampled()), ratelimit.Server()))
	inventorypb.RegisterInventoryServer(s, inventory{})
	testpb.RegisterTestServiceServer(s, echo{})
	served := make(chan error, 1)
	go func() { served <- s.Start(ctx) }()
	err = obey(o, in, out, answer{Addr: l.Addr().String()}, tell)
	if stopped := s.Stop(context.WithoutCancel(ctx)); err == nil {
		err = stopped
	}
	if ended := <-served; err == nil {
		err = ended
	}
	return err
}

// loadKratos calls with kratos and the middlewares that its documentation puts
// round a client.
func loadKratos(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	log.SetLogger(log.NewFilter(log.DefaultLogger, log.FilterLevel(log.LevelError)))
	conn, err := kgrpc.DialInsecure(ctx, kgrpc.WithEndpoint(o.target),
		kgrpc.WithMiddleware(recovery.Recovery(), tracing.Client(unsampled()), circuitbreaker.Client()))
	if err != nil {
		return err
	}
	defer conn.Close()
	w := grpcWorks(inventorypb.NewInventoryClient(conn), testpb.NewTestServiceClient(conn),
		func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} })
	return obey(o, in, out, answer{}, w.load(ctx))
}
