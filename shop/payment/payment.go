// Package payment takes and gives back money through the bank and keeps the
// books in double entry. Every operation writes down what it is about to ask,
// asks the bank under a key that never changes for the order, and writes down
// what the bank said: repeated after any crash, it ends the same.
//
//	argosy.Main(all.Engines(), payment.Service)
package payment

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/argosy-go/argosy"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	"github.com/argosy-go/argosy/shop/partner"
	"github.com/argosy-go/argosy/shop/witness/webhook"
	"github.com/argosy-go/argosy/store"
)

//go:embed migrations/*.sql
var files embed.FS

// Service is the payment service.
var Service = argosy.Service{Name: "payment", Setup: setup}

type payment struct {
	paymentpb.UnimplementedPaymentServer
	cfg struct {
		BankTimeout   time.Duration `default:"2s" usage:"how long one answer of the bank may take"`
		BankURL       string        `usage:"where the bank is (default: the one that the shop starts)"`
		WebhookSecret string        `secret:"true" usage:"what the bank signs its webhooks with (default: the data directory's own)"`
	}
	db   *store.DB
	now  func() time.Time
	bank *partner.Client
}

func setup(s *argosy.Setup) error {
	p := &payment{db: s.DB(files), now: s.Now}
	s.Config(&p.cfg)
	p.bank = partner.New(partner.Config{
		Name: "bank", Dir: s.Dir, Now: s.Now,
		URL:     func() string { return p.cfg.BankURL },
		Timeout: func() time.Duration { return p.cfg.BankTimeout },
		Secret:  func() string { return p.cfg.WebhookSecret },
	})
	s.Handle("POST /v1/webhooks/bank", p.bank.Webhooks(p.onNotice))
	paymentpb.RegisterPaymentServer(s, p)
	return nil
}

// onNotice writes down what the bank tells. The books do not depend on it: the
// bank tells late, twice and out of order.
func (p *payment) onNotice(ctx context.Context, e webhook.Event) error {
	var about authorization
	if err := json.Unmarshal(e.Data, &about); err != nil {
		return fmt.Errorf("bank notice %s: %w", e.ID, err)
	}
	return p.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO bank_notices (id, kind, order_id, at) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
			e.ID, e.Type, about.Reference, store.At(e.Time))
		return err
	})
}
