package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/engine/embedded"
	"github.com/argosy-go/argosy/fault"
	catalogpb "github.com/argosy-go/argosy/shop/gen/catalog/v1"
	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
)

// Three services in a row: front calls middle, and middle calls back, which
// fails. Each passes on what it got, as services do that have nothing to add.
type (
	front struct {
		inventorypb.UnimplementedInventoryServer
		middle catalogpb.CatalogClient
	}
	middle struct {
		catalogpb.UnimplementedCatalogServer
		back shippingpb.ShippingClient
	}
	back struct {
		shippingpb.UnimplementedShippingServer
		fails map[string]error
	}
)

func (f *front) GetStock(ctx context.Context, req *inventorypb.GetStockRequest) (*inventorypb.Stock, error) {
	if _, err := f.middle.GetProduct(ctx, &catalogpb.GetProductRequest{Id: req.ProductId}); err != nil {
		return nil, err
	}
	return &inventorypb.Stock{ProductId: req.ProductId}, nil
}

func (m *middle) GetProduct(ctx context.Context, req *catalogpb.GetProductRequest) (*catalogpb.Product, error) {
	if _, err := m.back.GetShipment(ctx, &shippingpb.GetShipmentRequest{OrderId: req.Id}); err != nil {
		return nil, fmt.Errorf("ask for the shipment: %w", err) // wrapped, as Go has it
	}
	return &catalogpb.Product{Id: req.Id}, nil
}

func (b *back) GetShipment(_ context.Context, req *shippingpb.GetShipmentRequest) (*shippingpb.Shipment, error) {
	return nil, b.fails[req.OrderId]
}

func row(fails map[string]error) []argosy.Service {
	return []argosy.Service{
		{Name: "front", Setup: func(s *argosy.Setup) error {
			inventorypb.RegisterInventoryServer(s, &front{middle: argosy.Client(s, catalogpb.NewCatalogClient)})
			return nil
		}},
		{Name: "middle", Setup: func(s *argosy.Setup) error {
			catalogpb.RegisterCatalogServer(s, &middle{back: argosy.Client(s, shippingpb.NewShippingClient)})
			return nil
		}},
		{Name: "back", Setup: func(s *argosy.Setup) error {
			shippingpb.RegisterShippingServer(s, &back{fails: fails})
			return nil
		}},
	}
}

// TestAnErrorIsTheSameThroughThreeServices has the last of three services fail,
// in one process, in one process through bytes, and in three processes that
// speak gRPC. Whoever calls the first learns all that the last one said, over
// gRPC and over REST, and who said it.
func TestAnErrorIsTheSameThroughThreeServices(t *testing.T) {
	fails := map[string]error{
		"plain":    fault.New(codes.NotFound, "NO_SHIPMENT", "there is no shipment"),
		"facts":    fault.New(codes.FailedPrecondition, "LOST", "the shipment is lost").WithMetadata("since", "monday").WithMetadata("where", "harbour"),
		"fields":   fault.Invalid("order_id", "is 1 to 64 characters, and has %d", 99),
		"patience": fault.New(codes.ResourceExhausted, "QUOTA", "too many questions").WithRetryAfter(200 * time.Millisecond),
		// Only a server's own refusals say that nothing was done: a handler
		// may have acted before it passed one on.
		"untouched": fault.New(codes.Aborted, "BUSY", "somebody else is at it").Refused(),
		"secret":    fmt.Errorf("dial 10.0.0.7: connection refused"),
	}
	for name, start := range map[string]func(*testing.T, []argosy.Service) argosy.Addrs{
		"in one process":               oneProcess(false),
		"in one process through bytes": oneProcess(true),
		"in three processes":           aProcessEach,
	} {
		t.Run(name, func(t *testing.T) {
			at := start(t, row(fails))
			conn, err := grpc.NewClient(at.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for key, raised := range fails {
				want := *fault.From(raised)
				want.Service, want.NotDone = "back", false
				if want.Reason == "INTERNAL" { // what is no fault tells callers nothing
					want = fault.Error{Code: codes.Internal, Reason: "INTERNAL", Message: "internal error", Service: "back"}
				}
				_, err := inventorypb.NewInventoryClient(conn).GetStock(t.Context(), &inventorypb.GetStockRequest{ProductId: key})
				same(t, key+" over gRPC", fault.From(err), want)
				same(t, key+" over REST", overREST(t, "http://"+at.HTTP+"/v1/products/"+key+"/stock"), want)
			}
		})
	}
}

// same compares what a caller got with what was raised.
func same(t *testing.T, what string, got *fault.Error, want fault.Error) {
	t.Helper()
	if got == nil {
		t.Errorf("%s: no error", what)
		return
	}
	g, w := got.Problem(), want.Problem()
	// One layer of a call tree retries, and tells the others that it has.
	if delete(g.Metadata, "argosy_retried"); len(g.Metadata) == 0 {
		g.Metadata = nil
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("%s: got %+v, want %+v", what, g, w)
	}
}

func overREST(t *testing.T, url string) *fault.Error {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var p fault.Problem
	b, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || res.StatusCode != p.Status {
		t.Fatalf("%d %s: %v", res.StatusCode, b, err)
	}
	return fault.FromProblem(p)
}

func run(t *testing.T, p argosy.Program, args ...string) argosy.Addrs {
	t.Helper()
	p.Name, p.Engines = "row", embedded.Engines()
	p.Args = append([]string{"--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", "--data=" + t.TempDir()}, args...)
	f, err := argosy.Start(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return f.Addrs()
}

func oneProcess(wire bool) func(*testing.T, []argosy.Service) argosy.Addrs {
	return func(t *testing.T, services []argosy.Service) argosy.Addrs {
		return run(t, argosy.Program{Services: services, Wire: wire})
	}
}

// aProcessEach starts programs that know of each other only where they are.
func aProcessEach(t *testing.T, services []argosy.Service) argosy.Addrs {
	key := "--auth-key=" + filepath.Join(t.TempDir(), "key")
	last := run(t, argosy.Program{Services: services}, key, "--only=back")
	middle := run(t, argosy.Program{Services: services}, key, "--only=middle", "--peers=back="+last.GRPC)
	return run(t, argosy.Program{Services: services}, key, "--only=front", "--peers=middle="+middle.GRPC)
}
