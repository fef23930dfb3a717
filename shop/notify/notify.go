// Package notify writes to customers and keeps a record of each message. It
// has no guard of its own against doubles: that an event has its effect once
// is what the framework promises, and the audit counts.
//
//	argosy.Main(all.Engines(), notify.Service)
package notify

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/event"
	notifypb "github.com/argosy-go/argosy/shop/gen/notify/v1"
	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the notify service.
var Service = argosy.Service{Name: "notify", Setup: setup}

type notify struct {
	notifypb.UnimplementedNotifyServer
	db  *store.DB
	now func() time.Time
}

func setup(s *argosy.Setup) error {
	n := &notify{db: s.DB(files), now: s.Now}
	event.Consume(s, n.onOrderConfirmed)
	event.Consume(s, n.onOrderCancelled)
	notifypb.RegisterNotifyServer(s, n)
	return nil
}

func (n *notify) onOrderConfirmed(ctx context.Context, tx *store.Tx, e *orderpb.OrderConfirmed) error {
	return n.send(ctx, tx, e.OrderId, e.CustomerId, "confirmed", fmt.Sprintf("Your order is on its way as %s.", e.TrackingNumber))
}

func (n *notify) onOrderCancelled(ctx context.Context, tx *store.Tx, e *orderpb.OrderCancelled) error {
	return n.send(ctx, tx, e.OrderId, e.CustomerId, "cancelled", "Your order was cancelled: "+e.Reason)
}

func (n *notify) send(ctx context.Context, tx *store.Tx, order, customer, kind, text string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("message id: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO sent (id, order_id, customer_id, kind, text, at) VALUES ($1, $2, $3, $4, $5, $6)",
		id.String(), order, customer, kind, text, store.At(n.now()))
	return err
}

// ListMessages implements notifypb.NotifyServer.
func (n *notify) ListMessages(ctx context.Context, req *notifypb.ListMessagesRequest) (*notifypb.ListMessagesResponse, error) {
	res := &notifypb.ListMessagesResponse{}
	err := n.db.Read(ctx, func(ctx context.Context, q store.Querier) error {
		rows, err := q.QueryContext(ctx, "SELECT id, order_id, kind, at FROM sent WHERE order_id = $1 ORDER BY at, id", req.OrderId)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m := &notifypb.Sent{}
			var at store.Time
			if err := rows.Scan(&m.Id, &m.OrderId, &m.Kind, &at); err != nil {
				return err
			}
			m.Time = timestamppb.New(at.Time)
			res.Messages = append(res.Messages, m)
		}
		return rows.Err()
	})
	return res, err
}
