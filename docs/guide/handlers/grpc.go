package handlers

import (
	"context"

	"github.com/go-kit/kit/endpoint"
	kitgrpc "github.com/go-kit/kit/transport/grpc"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
)

// greeter is a server as it was written for grpc-go.
type greeter struct{ pb.UnimplementedGreeterServer }

func (greeter) Greet(_ context.Context, req *pb.GreetRequest) (*pb.Greeting, error) {
	return &pb.Greeting{Text: "Hello, " + req.Name}, nil
}

// Moved is the server of grpc-go, moved in: before, the line was
// pb.RegisterGreeterServer(grpc.NewServer(), greeter{}).
var Moved = argosy.Service{Name: "greeter", Setup: func(s *argosy.Setup) error {
	pb.RegisterGreeterServer(s, greeter{})
	return nil
}}

// kitGreeter is a server as Go kit builds them: an endpoint with middlewares,
// and a transport round it.
type kitGreeter struct {
	pb.UnimplementedGreeterServer
	greet kitgrpc.Handler
}

func newKitGreeter(middlewares ...endpoint.Middleware) *kitGreeter {
	greet := func(_ context.Context, name any) (any, error) { return "Hello, " + name.(string), nil }
	for _, m := range middlewares {
		greet = m(greet)
	}
	return &kitGreeter{greet: kitgrpc.NewServer(greet,
		func(_ context.Context, req any) (any, error) { return req.(*pb.GreetRequest).Name, nil },
		func(_ context.Context, text any) (any, error) { return &pb.Greeting{Text: text.(string)}, nil },
	)}
}

func (g *kitGreeter) Greet(ctx context.Context, req *pb.GreetRequest) (*pb.Greeting, error) {
	_, reply, err := g.greet.ServeGRPC(ctx, req)
	if err != nil {
		return nil, err
	}
	return reply.(*pb.Greeting), nil
}

// MovedKit is the server of Go kit, moved in.
var MovedKit = argosy.Service{Name: "greeter", Setup: func(s *argosy.Setup) error {
	pb.RegisterGreeterServer(s, newKitGreeter())
	return nil
}}
