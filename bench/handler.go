package main

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	inventorypb "github.com/argosy-go/argosy/shop/gen/inventory/v1"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// The handlers are the same on every side, and do nothing.

type inventory struct {
	inventorypb.UnimplementedInventoryServer
}

func (inventory) Reserve(context.Context, *inventorypb.ReserveRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// reserve is what the unary calls ask for.
var reserve = &inventorypb.ReserveRequest{
	OrderId: "01JD7Z0F4W3M8R5T6Y7V9X0A1B",
	Items:   []*inventorypb.Item{{ProductId: "bean-yirgacheffe", Quantity: 2}, {ProductId: "filter-v60-02", Quantity: 1}},
}

// echo answers each message of a stream with its payload.
type echo struct {
	testpb.UnimplementedTestServiceServer
}

func (echo) FullDuplexCall(both grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		in, err := both.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := both.Send(&testpb.StreamingOutputCallResponse{Payload: in.Payload}); err != nil {
			return err
		}
	}
}

var ping = &testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte("01JD7Z0F4W3M8R5T6Y7V9X0A1B")}}

// orders answers everything with the same order.
type orders struct {
	orderpb.UnimplementedOrdersServer
}

func (orders) PlaceOrder(_ context.Context, in *orderpb.PlaceOrderRequest) (*orderpb.Order, error) {
	return place(in), nil
}

func (orders) GetOrder(_ context.Context, in *orderpb.GetOrderRequest) (*orderpb.Order, error) {
	return get(in.Id), nil
}

func place(in *orderpb.PlaceOrderRequest) *orderpb.Order {
	o := get("01JD7Z0F4W3M8R5T6Y7V9X0A1B")
	for i, l := range in.Lines {
		o.Lines[i].ProductId, o.Lines[i].Quantity = l.ProductId, l.Quantity
	}
	return o
}

func get(id string) *orderpb.Order {
	at := &timestamppb.Timestamp{Seconds: 1795420800}
	return &orderpb.Order{
		Id: id, State: orderpb.State_PENDING, Total: euros(4190), CreateTime: at, UpdateTime: at, Version: 1,
		Lines: []*orderpb.PricedLine{
			{ProductId: "bean-yirgacheffe", Name: "Yirgacheffe", Quantity: 2, UnitPrice: euros(1650), LineTotal: euros(3300)},
			{ProductId: "filter-v60-02", Name: "V60 filters", Quantity: 1, UnitPrice: euros(890), LineTotal: euros(890)},
		},
		Events: []*orderpb.Change{{Time: at, State: orderpb.State_PENDING, Detail: "placed"}},
	}
}

func euros(cents int64) *moneypb.Money { return &moneypb.Money{Currency: "EUR", MinorUnits: cents} }

const orderBody = `{"lines":[{"productId":"bean-yirgacheffe","quantity":2},{"productId":"filter-v60-02","quantity":1}],"paymentToken":"tok_visa_4242"}`
