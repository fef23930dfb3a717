package e2e

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// An order of somebody else is answered as one that does not exist, on both
// edges and by every method, so that nobody can find out which ones there are.
func TestAnotherCustomersOrderIsNotFound(t *testing.T) {
	f := start(t, build(t, ""), t.TempDir())
	f.signIn("support@shop.test")
	id := f.must("POST", "/v1/orders", "k1", order("tok_ok", f.products()[0])).field("id")
	f.signIn("customer@shop.test")

	none := "01a20573-13ec-7455-bc50-25a8571e3c1d"
	for _, c := range []struct{ method, path string }{{"GET", ""}, {"GET", ":watch"}, {"POST", ":cancel"}} {
		var reasons []string
		for _, order := range []string{id, none} {
			var body any
			key := ""
			if c.method == "POST" {
				body, key = map[string]any{}, "cancel-rest-"+order
			}
			r, err := f.call(c.method, "/v1/orders/"+order+c.path, key, body)
			if err != nil || r.status != 404 {
				t.Errorf("%s %s of %s: %v, %d %s", c.method, c.path, order, err, r.status, r.body)
			}
			reasons = append(reasons, r.field("reason"))
		}
		if reasons[0] != reasons[1] || reasons[0] == "" {
			t.Errorf("%s %s tells somebody else's order from none: %q", c.method, c.path, reasons)
		}
	}
	if r, err := f.call("GET", "/v1/orders/"+id+"/messages", "", nil); err != nil || r.status != 403 {
		t.Errorf("a customer read what only support may: %v, %d %s", err, r.status, r.body)
	}

	conn, err := grpc.NewClient(f.addrs.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	orders := orderpb.NewOrdersClient(conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+f.token)
	for name, call := range map[string]func(ctx context.Context, id string) error{
		"GetOrder": func(ctx context.Context, id string) error {
			_, err := orders.GetOrder(ctx, &orderpb.GetOrderRequest{Id: id})
			return err
		},
		"CancelOrder": func(ctx context.Context, id string) error {
			_, err := orders.CancelOrder(metadata.AppendToOutgoingContext(ctx, "idempotency-key", "cancel-"+id), &orderpb.CancelOrderRequest{Id: id})
			return err
		},
		"WatchOrder": func(ctx context.Context, id string) error {
			stream, err := orders.WatchOrder(ctx, &orderpb.WatchOrderRequest{Id: id})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	} {
		for _, order := range []string{id, none} {
			if err := call(ctx, order); status.Code(err) != codes.NotFound {
				t.Errorf("%s of %s: got %v", name, order, err)
			}
		}
	}
	list, err := orders.ListOrders(ctx, &orderpb.ListOrdersRequest{})
	if err != nil || slices.ContainsFunc(list.Orders, func(o *orderpb.Order) bool { return o.Id == id }) {
		t.Errorf("the list of another customer: %v, %v", list, err)
	}
	f.signIn("support@shop.test")
	f.must("GET", "/v1/orders/"+id, "", nil) // it was there all the time
}
