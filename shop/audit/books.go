package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/argosy-go/argosy/event"
	"github.com/argosy-go/argosy/saga"
	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
	"github.com/argosy-go/argosy/shop/witness/ledger"
	"github.com/argosy-go/argosy/store"
	"github.com/argosy-go/argosy/store/postgres"
	"github.com/argosy-go/argosy/store/sqlite"
)

// books is everything that the audit compares.
type books struct {
	acknowledged []ledger.Entry // the load's journals: Key and Reference
	orders       map[string]order
	lines        []line
	postings     []posting
	stock        []stock
	reservations map[string]string // order to state
	messages     map[message]int
	bank         []ledger.Entry
	carrier      []ledger.Entry
	backlog      map[string]backlog
	moved        bool // orders came or changed while the books were read
}

type order struct {
	id       string
	customer string
	key      string
	state    int
	total    int64
}

type line struct {
	order, product string
	quantity       int64
}

type posting struct {
	order, account string
	amount         int64
}

type stock struct {
	product                            string
	onHand, reserved, shipped, initial int64
}

type message struct{ order, kind string }

// backlog is the work that a service has not ended.
type backlog struct{ outbox, pending, dead, active, parked int }

// Services that have a store, in the order of the flow.
var services = []string{"identity", "catalog", "cart", "order", "inventory", "payment", "shipping", "notify"}

// read reads the books. Stores are read one after the other while work may go
// on, so that only a quiet shop can be expected to agree with itself. All work
// begins and ends with an order: those are read again at the end.
func read(ctx context.Context, shop Shop) (*books, error) {
	dir := shop.Dir
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	b := &books{
		orders: map[string]order{}, reservations: map[string]string{}, messages: map[message]int{}, backlog: map[string]backlog{},
	}
	// First: what was acknowledged later need not be in the stores that are read now.
	journals, err := filepath.Glob(filepath.Join(dir, "load", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	for _, j := range journals {
		entries, err := readLedger(j)
		if err != nil {
			return nil, err
		}
		b.acknowledged = append(b.acknowledged, entries...)
	}
	tables := map[string]func(context.Context, store.Querier) error{
		"order": b.readOrders, "inventory": b.readInventory, "payment": b.readPayment, "notify": b.readNotify,
	}
	for _, s := range services {
		err := b.readStore(ctx, shop, s, tables[s])
		if err != nil {
			return nil, fmt.Errorf("store of %s: %w", s, err)
		}
	}
	if b.bank, err = readLedger(bank.LedgerPath(filepath.Join(dir, "witness"))); err != nil {
		return nil, err
	}
	if b.carrier, err = readLedger(carrier.LedgerPath(filepath.Join(dir, "witness"))); err != nil {
		return nil, err
	}
	first := b.orders
	b.orders = map[string]order{}
	if err := b.readStore(ctx, shop, "order", b.readOrderHeads); err != nil {
		return nil, fmt.Errorf("store of order: %w", err)
	}
	b.moved = !maps.Equal(first, b.orders)
	return b, nil
}

// readLedger reads a ledger; one that was never begun is empty.
func readLedger(path string) ([]ledger.Entry, error) {
	entries, err := ledger.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// reader reads the store of a service.
type reader interface {
	Read(ctx context.Context, fn func(ctx context.Context, q store.Querier) error) error
	Close() error
}

// open opens the store of a service to read.
func (s Shop) open(ctx context.Context, service string) (reader, error) {
	switch scheme, _, _ := strings.Cut(s.Store, ":"); scheme {
	case "", "sqlite":
		return sqlite.OpenReader(ctx, sqlite.Path(s.Dir, service))
	case "postgres", "postgresql":
		return postgres.OpenReader(ctx, s.Store, service)
	default:
		return nil, fmt.Errorf("the audit cannot read %q: it reads sqlite: and postgres://", scheme)
	}
}

func (b *books) readStore(ctx context.Context, shop Shop, service string, tables func(context.Context, store.Querier) error) error {
	r, err := shop.open(ctx, service)
	if err != nil {
		return err
	}
	err = r.Read(ctx, func(ctx context.Context, q store.Querier) error {
		var left backlog
		var err error
		if left.outbox, left.pending, left.dead, err = event.Backlog(ctx, q); err != nil {
			return err
		}
		if left.active, left.parked, err = saga.Active(ctx, q); err != nil {
			return err
		}
		b.backlog[service] = left
		if tables == nil {
			return nil
		}
		return tables(ctx, q)
	})
	return errors.Join(err, r.Close())
}

func (b *books) readOrders(ctx context.Context, q store.Querier) error {
	if err := b.readOrderHeads(ctx, q); err != nil {
		return err
	}
	return each(ctx, q, "SELECT order_id, product_id, quantity FROM order_lines", func(scan func(...any) error) error {
		var l line
		err := scan(&l.order, &l.product, &l.quantity)
		b.lines = append(b.lines, l)
		return err
	})
}

func (b *books) readOrderHeads(ctx context.Context, q store.Querier) error {
	return each(ctx, q, "SELECT id, customer_id, request_key, state, total FROM orders", func(scan func(...any) error) error {
		var o order
		err := scan(&o.id, &o.customer, &o.key, &o.state, &o.total)
		b.orders[o.id] = o
		return err
	})
}

func (b *books) readInventory(ctx context.Context, q store.Querier) error {
	err := each(ctx, q, "SELECT product_id, on_hand, reserved, shipped, initial FROM stock", func(scan func(...any) error) error {
		var s stock
		err := scan(&s.product, &s.onHand, &s.reserved, &s.shipped, &s.initial)
		b.stock = append(b.stock, s)
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, q, "SELECT order_id, state FROM reservations", func(scan func(...any) error) error {
		var id, state string
		err := scan(&id, &state)
		b.reservations[id] = state
		return err
	})
}

func (b *books) readPayment(ctx context.Context, q store.Querier) error {
	return each(ctx, q, "SELECT order_id, account, amount FROM postings", func(scan func(...any) error) error {
		var p posting
		err := scan(&p.order, &p.account, &p.amount)
		b.postings = append(b.postings, p)
		return err
	})
}

func (b *books) readNotify(ctx context.Context, q store.Querier) error {
	return each(ctx, q, "SELECT order_id, kind FROM sent", func(scan func(...any) error) error {
		var m message
		err := scan(&m.order, &m.kind)
		b.messages[m]++
		return err
	})
}

func each(ctx context.Context, q store.Querier, query string, row func(scan func(...any) error) error) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
