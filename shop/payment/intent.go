package payment

import (
	"context"
	"database/sql"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	moneypb "github.com/argosy-go/argosy/shop/gen/money/v1"
	paymentpb "github.com/argosy-go/argosy/shop/gen/payment/v1"
	"github.com/argosy-go/argosy/store"
)

// authorization is what the bank answers.
type authorization struct {
	Reference string `json:"reference"`
	State     string `json:"state"`
}

type empty struct{}

var errDeclined = fault.New(codes.FailedPrecondition, "CARD_DECLINED", "the bank declined the card")

// Authorize implements paymentpb.PaymentServer.
func (p *payment) Authorize(ctx context.Context, req *paymentpb.AuthorizeRequest) (*paymentpb.Intent, error) {
	if req.OrderId == "" || req.Amount.GetMinorUnits() <= 0 {
		return nil, fault.Invalid("amount", "an order and an amount above zero are needed")
	}
	in, err := p.insert(ctx, req.OrderId, paymentpb.IntentState_REQUESTED, req.Amount)
	if err != nil || in.State != paymentpb.IntentState_REQUESTED {
		return in, settled(in, err)
	}
	var said authorization
	err = p.bank.Post(ctx, "/authorizations", req.OrderId+"/authorize", map[string]any{
		"reference": req.OrderId, "token": req.PaymentToken, "amount": in.Amount.MinorUnits, "currency": in.Amount.Currency,
	}, &said)
	if err != nil {
		return nil, err
	}
	to := paymentpb.IntentState_AUTHORIZED
	if said.State == "DECLINED" {
		to = paymentpb.IntentState_DECLINED
	}
	in, err = p.advance(ctx, req.OrderId, paymentpb.IntentState_REQUESTED, to, nil)
	return in, settled(in, err)
}

// settled returns the error that goes with an intent which ended badly.
func settled(in *paymentpb.Intent, err error) error {
	switch {
	case err != nil:
		return err
	case in.State == paymentpb.IntentState_DECLINED:
		return errDeclined
	case in.State == paymentpb.IntentState_VOIDED, in.State == paymentpb.IntentState_REFUNDED:
		return fault.New(codes.FailedPrecondition, "PAYMENT_CLOSED", "the payment of order %s was given back", in.OrderId)
	}
	return nil
}

// Void implements paymentpb.PaymentServer.
func (p *payment) Void(ctx context.Context, req *paymentpb.VoidRequest) (*paymentpb.Intent, error) {
	// Where there is none yet, a tombstone refuses a late Authorize.
	in, err := p.insert(ctx, req.OrderId, paymentpb.IntentState_VOIDED, &moneypb.Money{})
	if err != nil {
		return nil, err
	}
	switch in.State {
	case paymentpb.IntentState_VOIDED, paymentpb.IntentState_DECLINED, paymentpb.IntentState_REFUNDED:
		return in, nil
	case paymentpb.IntentState_CAPTURED:
		return nil, fault.New(codes.FailedPrecondition, "ALREADY_CAPTURED", "order %s has been paid: refund it", req.OrderId)
	}
	// What the bank never heard of it closes, so that a request still under way is refused.
	if err := p.bank.Post(ctx, "/authorizations/"+req.OrderId+"/voids", req.OrderId+"/void", empty{}, &authorization{}); err != nil {
		return nil, err
	}
	return p.advance(ctx, req.OrderId, in.State, paymentpb.IntentState_VOIDED, nil)
}

// Capture implements paymentpb.PaymentServer.
func (p *payment) Capture(ctx context.Context, req *paymentpb.CaptureRequest) (*paymentpb.Intent, error) {
	in, err := p.GetIntent(ctx, &paymentpb.GetIntentRequest{OrderId: req.OrderId})
	if err != nil {
		return nil, err
	}
	switch in.State {
	case paymentpb.IntentState_CAPTURED:
		return in, nil
	case paymentpb.IntentState_AUTHORIZED:
	default:
		return nil, fault.New(codes.FailedPrecondition, "NOT_AUTHORIZED", "the payment of order %s is %s", req.OrderId, in.State)
	}
	if err := p.bank.Post(ctx, "/authorizations/"+req.OrderId+"/captures", req.OrderId+"/capture", empty{}, &authorization{}); err != nil {
		return nil, err
	}
	return p.advance(ctx, req.OrderId, in.State, paymentpb.IntentState_CAPTURED, &entry{"capture", "bank", "sales"})
}

// Refund implements paymentpb.PaymentServer.
func (p *payment) Refund(ctx context.Context, req *paymentpb.RefundRequest) (*paymentpb.Intent, error) {
	in, err := p.insert(ctx, req.OrderId, paymentpb.IntentState_VOIDED, &moneypb.Money{})
	if err != nil {
		return nil, err
	}
	switch in.State {
	case paymentpb.IntentState_CAPTURED:
	case paymentpb.IntentState_REQUESTED, paymentpb.IntentState_AUTHORIZED:
		// There is nothing to give back, and something to let go of.
		return p.Void(ctx, &paymentpb.VoidRequest{OrderId: req.OrderId})
	default:
		return in, nil // nothing was captured, or it was given back before
	}
	if err := p.bank.Post(ctx, "/authorizations/"+req.OrderId+"/refunds", req.OrderId+"/refund", empty{}, &authorization{}); err != nil {
		return nil, err
	}
	return p.advance(ctx, req.OrderId, in.State, paymentpb.IntentState_REFUNDED, &entry{"refund", "sales", "bank"})
}

// GetIntent implements paymentpb.PaymentServer.
func (p *payment) GetIntent(ctx context.Context, req *paymentpb.GetIntentRequest) (*paymentpb.Intent, error) {
	var in *paymentpb.Intent
	err := p.db.Read(ctx, func(ctx context.Context, q store.Querier) (err error) {
		in, err = load(ctx, q, req.OrderId)
		return err
	})
	if err == nil && in == nil {
		return nil, fault.New(codes.NotFound, "NO_PAYMENT", "there is no payment for order %q", req.OrderId)
	}
	return in, err
}

// load returns the intent of an order, nil when there is none.
func load(ctx context.Context, q store.Querier, order string) (*paymentpb.Intent, error) {
	in := &paymentpb.Intent{OrderId: order, Amount: &moneypb.Money{}}
	var state string
	err := q.QueryRowContext(ctx, "SELECT state, currency, amount FROM intents WHERE order_id = $1", order).
		Scan(&state, &in.Amount.Currency, &in.Amount.MinorUnits)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	in.State = paymentpb.IntentState(paymentpb.IntentState_value[state])
	return in, err
}

// insert returns the intent of an order, made with the state if there was none.
func (p *payment) insert(ctx context.Context, order string, state paymentpb.IntentState, amount *moneypb.Money) (in *paymentpb.Intent, err error) {
	err = p.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, `
			INSERT INTO intents (order_id, state, currency, amount, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
			ON CONFLICT (order_id) DO NOTHING`,
			order, state.String(), amount.Currency, amount.MinorUnits, store.At(p.now()))
		if err != nil {
			return err
		}
		in, err = load(ctx, tx, order)
		return err
	})
	return in, err
}

// entry is a pair of postings: debit gets the amount, credit gives it.
type entry struct{ kind, debit, credit string }

// advance moves an intent from a state to another, with its postings. When it
// has moved on in the meantime, it is returned as it is.
func (p *payment) advance(ctx context.Context, order string, from, to paymentpb.IntentState, e *entry) (in *paymentpb.Intent, err error) {
	err = p.db.Do(ctx, func(ctx context.Context, tx *store.Tx) error {
		at := store.At(p.now())
		res, err := tx.ExecContext(ctx, "UPDATE intents SET state = $1, updated_at = $2 WHERE order_id = $3 AND state = $4",
			to.String(), at, order, from.String())
		if err != nil {
			return err
		}
		moved, err := res.RowsAffected()
		if err != nil {
			return err
		}
		if in, err = load(ctx, tx, order); err != nil || moved == 0 || e == nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO postings (order_id, kind, account, amount, at) VALUES ($1, $2, $3, $4, $6), ($1, $2, $5, -$4, $6)",
			order, e.kind, e.debit, in.Amount.MinorUnits, e.credit, at)
		return err
	})
	return in, err
}
