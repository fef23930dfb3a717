package shipping

import (
	"context"
	"database/sql"
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/argosy-go/argosy/fault"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/store"
)

// parcel is what the carrier answers.
type parcel struct {
	Reference      string `json:"reference"`
	State          string `json:"state"`
	TrackingNumber string `json:"trackingNumber"`
}

type empty struct{}

const (
	requested = shippingpb.ShipmentState_REQUESTED
	booked    = shippingpb.ShipmentState_BOOKED
	cancelled = shippingpb.ShipmentState_CANCELLED
	sent      = shippingpb.ShipmentState_DISPATCHED
	inTransit = shippingpb.ShipmentState_IN_TRANSIT
	arrived   = shippingpb.ShipmentState_DELIVERED
	recalled  = shippingpb.ShipmentState_RECALLED
)

func closed(sh *shippingpb.Shipment) error {
	return fault.New(codes.FailedPrecondition, "SHIPMENT_CLOSED", "the shipment of order %s is %s", sh.OrderId, sh.State)
}

// Book implements shippingpb.ShippingServer.
func (h *shipping) Book(ctx context.Context, req *shippingpb.BookRequest) (*shippingpb.Shipment, error) {
	if req.OrderId == "" || req.Items < 1 {
		return nil, fault.Invalid("items", "an order and at least one piece are needed")
	}
	sh, err := h.insert(ctx, req.OrderId, requested)
	if err != nil {
		return nil, err
	}
	switch sh.State {
	case cancelled, recalled:
		return nil, closed(sh)
	case requested:
	default:
		return sh, nil
	}
	var said parcel
	err = h.carrier.Post(ctx, "/shipments", req.OrderId+"/book", map[string]any{
		"reference": req.OrderId, "summary": "groceries", "items": req.Items, "weightGrams": 500 * req.Items,
	}, &said)
	if err != nil {
		return nil, err
	}
	return h.advance(ctx, req.OrderId, booked, said.TrackingNumber, requested)
}

// CancelBooking implements shippingpb.ShippingServer.
func (h *shipping) CancelBooking(ctx context.Context, req *shippingpb.CancelBookingRequest) (*emptypb.Empty, error) {
	sh, err := h.insert(ctx, req.OrderId, cancelled)
	if err != nil {
		return nil, err
	}
	switch sh.State {
	case cancelled, recalled:
		return &emptypb.Empty{}, nil
	case requested, booked:
	default:
		return nil, closed(sh)
	}
	// What the carrier never heard of it closes, so that a booking still under way is refused.
	if err := h.carrier.Post(ctx, "/shipments/"+req.OrderId+"/cancellations", req.OrderId+"/cancel", empty{}, &parcel{}); err != nil {
		return nil, err
	}
	_, err = h.advance(ctx, req.OrderId, cancelled, "", requested, booked)
	return &emptypb.Empty{}, err
}

// Dispatch implements shippingpb.ShippingServer.
func (h *shipping) Dispatch(ctx context.Context, req *shippingpb.DispatchRequest) (*shippingpb.Shipment, error) {
	sh, err := h.GetShipment(ctx, &shippingpb.GetShipmentRequest{OrderId: req.OrderId})
	if err != nil {
		return nil, err
	}
	switch sh.State {
	case sent, inTransit, arrived:
		return sh, nil
	case booked:
	default:
		return nil, closed(sh)
	}
	if err := h.carrier.Post(ctx, "/shipments/"+req.OrderId+"/dispatches", req.OrderId+"/dispatch", empty{}, &parcel{}); err != nil {
		return nil, err
	}
	return h.advance(ctx, req.OrderId, sent, "", booked)
}

// Recall implements shippingpb.ShippingServer.
func (h *shipping) Recall(ctx context.Context, req *shippingpb.RecallRequest) (*emptypb.Empty, error) {
	sh, err := h.insert(ctx, req.OrderId, recalled)
	if err != nil || sh.State == recalled || sh.State == cancelled {
		return &emptypb.Empty{}, err
	}
	if err := h.carrier.Post(ctx, "/shipments/"+req.OrderId+"/recalls", req.OrderId+"/recall", empty{}, &parcel{}); err != nil {
		return nil, err
	}
	_, err = h.advance(ctx, req.OrderId, recalled, "", requested, booked, sent, inTransit, arrived)
	return &emptypb.Empty{}, err
}

// GetShipment implements shippingpb.ShippingServer.
func (h *shipping) GetShipment(ctx context.Context, req *shippingpb.GetShipmentRequest) (*shippingpb.Shipment, error) {
	var sh *shippingpb.Shipment
	err := h.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		sh, err = load(ctx, q, req.OrderId)
		return err
	})
	return sh, err
}

func load(ctx context.Context, q store.Querier, order string) (*shippingpb.Shipment, error) {
	sh := &shippingpb.Shipment{OrderId: order}
	var state string
	err := q.QueryRowContext(ctx, "SELECT state, tracking FROM shipments WHERE order_id = $1", order).Scan(&state, &sh.TrackingNumber)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(codes.NotFound, "NO_SHIPMENT", "there is no shipment for order %q", order)
	}
	sh.State = shippingpb.ShipmentState(shippingpb.ShipmentState_value[state])
	return sh, err
}

// insert returns the shipment of an order, made with the state if there was none.
func (h *shipping) insert(ctx context.Context, order string, state shippingpb.ShipmentState) (sh *shippingpb.Shipment, err error) {
	err = h.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO shipments (order_id, state, tracking, created_at, updated_at) VALUES ($1, $2, '', $3, $3)
			ON CONFLICT (order_id) DO NOTHING`, order, state.String(), store.At(h.now()))
		if err != nil {
			return err
		}
		sh, err = load(ctx, tx, order)
		return err
	})
	return sh, err
}

// advance moves a shipment to a state if it is in one of the states from, and
// returns it as it then is.
func (h *shipping) advance(ctx context.Context, order string, to shippingpb.ShipmentState, tracking string, from ...shippingpb.ShipmentState) (sh *shippingpb.Shipment, err error) {
	err = h.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := h.move(ctx, tx, order, to, tracking, from...); err != nil {
			return err
		}
		sh, err = load(ctx, tx, order)
		return err
	})
	return sh, err
}

// move tells whether the shipment was in one of the states from, and so moved.
func (h *shipping) move(ctx context.Context, tx *store.Tx, order string, to shippingpb.ShipmentState, tracking string, from ...shippingpb.ShipmentState) (bool, error) {
	sh, err := load(ctx, tx, order)
	if err != nil || !slices.Contains(from, sh.State) {
		return false, err
	}
	if tracking == "" {
		tracking = sh.TrackingNumber
	}
	_, err = tx.ExecContext(ctx, "UPDATE shipments SET state = $1, tracking = $2, updated_at = $3 WHERE order_id = $4",
		to.String(), tracking, store.At(h.now()), order)
	return true, err
}
