// Package shipping brings orders to customers through the carrier. As in
// payment, every operation is written down, asked of the carrier under a key
// that never changes for the order, and written down again.
//
//	argosy.Main(all.Engines(), shipping.Service)
package shipping

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/event"
	shippingpb "github.com/argosy-go/argosy/shop/gen/shipping/v1"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/witness/webhook"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the shipping service.
var Service = argosy.Service{Name: "shipping", Setup: setup}

type shipping struct {
	shippingpb.UnimplementedShippingServer
	cfg struct {
		CarrierTimeout time.Duration `default:"2s" usage:"how long one answer of the carrier may take"`
		CarrierURL     string        `usage:"where the carrier is (default: the one that the shop starts)"`
		WebhookSecret  string        `secret:"true" usage:"what the carrier signs its webhooks with (default: the data directory's own)"`
	}
	db        *store.DB
	now       func() time.Time
	carrier   *partner.Client
	delivered event.Publisher[*shippingpb.ShipmentDelivered]
}

func setup(s *argosy.Setup) error {
	h := &shipping{db: s.DB(files), now: s.Now}
	s.Config(&h.cfg)
	h.delivered = event.Publishes[*shippingpb.ShipmentDelivered](s)
	h.carrier = partner.New(partner.Config{
		Name: "carrier", Dir: s.Dir, Now: s.Now,
		URL:     func() string { return h.cfg.CarrierURL },
		Timeout: func() time.Duration { return h.cfg.CarrierTimeout },
		Secret:  func() string { return h.cfg.WebhookSecret },
	})
	s.Handle("POST /v1/webhooks/carrier", h.carrier.Webhooks(h.onNotice))
	shippingpb.RegisterShippingServer(s, h)
	return nil
}

// onNotice moves a shipment on. Notices come late, twice and out of order: a
// shipment only ever moves forward, and is delivered once.
func (h *shipping) onNotice(ctx context.Context, e webhook.Event) error {
	var about parcel
	if err := json.Unmarshal(e.Data, &about); err != nil {
		return fmt.Errorf("carrier notice %s: %w", e.ID, err)
	}
	switch e.Type {
	case "shipment.in_transit":
		_, err := h.advance(ctx, about.Reference, inTransit, "", sent)
		return err
	case "shipment.delivered":
		return h.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error { return h.deliver(ctx, tx, about, e.Time) })
	}
	return nil
}

// deliver notes a delivery and tells of it, once. The notice may overtake the
// answer to the dispatch.
func (h *shipping) deliver(ctx context.Context, tx *store.Tx, about parcel, at time.Time) error {
	moved, err := h.move(ctx, tx, about.Reference, arrived, "", booked, sent, inTransit)
	if err != nil || !moved {
		return err
	}
	h.delivered.Publish(tx, &shippingpb.ShipmentDelivered{
		OrderId: about.Reference, TrackingNumber: about.TrackingNumber, Time: timestamppb.New(at),
	})
	return nil
}
