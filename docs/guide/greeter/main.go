// Command greeter is the program of the README: one service whose greeting,
// event and reply to an idempotency key are one transaction.
package main

import (
	"context"
	"embed"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/idempotency"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

type greeter struct {
	pb.UnimplementedGreeterServer
	db      *store.DB
	greeted event.Publisher[*pb.Greeted]
}

func setup(s *argosy.Setup) error { // declares; does no I/O
	g := &greeter{db: s.DB(files), greeted: event.Publishes[*pb.Greeted](s)}
	event.Consume(s, g.onGreeted)
	pb.RegisterGreeterServer(s, g) // gRPC, REST and in the process
	return nil
}

func (g *greeter) Greet(ctx context.Context, req *pb.GreetRequest) (*pb.Greeting, error) {
	return idempotency.Do(ctx, g.db, req, func(ctx context.Context, tx *store.Tx) (*pb.Greeting, error) {
		g.greeted.Publish(tx, &pb.Greeted{Name: req.Name}) // published if, and only if, this commits
		return &pb.Greeting{Text: "Hello, " + req.Name}, nil
	})
}

func (g *greeter) onGreeted(ctx context.Context, tx *store.Tx, e *pb.Greeted) error { // has its effect once
	_, err := tx.ExecContext(ctx, `INSERT INTO greetings VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET times = greetings.times + 1`, e.Name)
	return err
}

func main() { argosy.Main(embedded.Engines(), argosy.Service{Name: "greeter", Setup: setup}) }
