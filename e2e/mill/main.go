// Command mill is a fleet of two services for tests of overload: a kiosk that
// calls a mill, which has a capacity far below that of the machine.
//
//	mill --only=mill --mill.workers=4 --mill.takes=40ms    100 calls a second
//	mill --only=kiosk --peers=mill=127.0.0.1:9090
package main

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy"
	pb "github.com/argosy-go/argosy/e2e/mill/millpb"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/fault"
)

func main() {
	argosy.Main(embedded.Engines(),
		argosy.Service{Name: "kiosk", Setup: setupKiosk},
		argosy.Service{Name: "mill", Setup: setupMill},
	)
}

type kiosk struct {
	pb.UnimplementedKioskServer
	mill pb.MillClient
}

func setupKiosk(s *argosy.Setup) error {
	pb.RegisterKioskServer(s, &kiosk{mill: argosy.Client(s, pb.NewMillClient)})
	return nil
}

// Buy implements pb.KioskServer.
func (k *kiosk) Buy(ctx context.Context, _ *pb.BuyRequest) (*pb.BuyResponse, error) {
	_, err := k.mill.Grind(ctx, &pb.GrindRequest{})
	return &pb.BuyResponse{}, err
}

type mill struct {
	pb.UnimplementedMillServer
	cfg struct {
		Workers int           `default:"4" usage:"how many it grinds at once"`
		Takes   time.Duration `default:"40ms" usage:"how long it grinds at first"`
	}
	workers chan struct{}
	takes   atomic.Int64 // nanoseconds
	broken  atomic.Bool
}

func setupMill(s *argosy.Setup) error {
	m := &mill{}
	s.Config(&m.cfg)
	s.OnStart("hire the workers", func(context.Context) error {
		m.workers = make(chan struct{}, m.cfg.Workers)
		m.takes.Store(int64(m.cfg.Takes))
		return nil
	})
	pb.RegisterMillServer(s, m)
	return nil
}

var errBroken = fault.New(codes.Unavailable, "BROKEN", "the mill is broken")

// Grind implements pb.MillServer. What has begun is done, in vain when its
// caller has gone.
func (m *mill) Grind(ctx context.Context, _ *pb.GrindRequest) (*pb.GrindResponse, error) {
	if m.broken.Load() {
		return nil, errBroken
	}
	select {
	case m.workers <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-m.workers }()
	<-time.After(time.Duration(m.takes.Load()))
	return &pb.GrindResponse{}, ctx.Err()
}

// Become implements pb.MillServer.
func (m *mill) Become(_ context.Context, r *pb.BecomeRequest) (*pb.BecomeResponse, error) {
	m.takes.Store(int64(time.Duration(r.TakesMs) * time.Millisecond))
	m.broken.Store(r.Broken)
	return &pb.BecomeResponse{}, nil
}
