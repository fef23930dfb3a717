package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
)

var (
	pending    = int(orderpb.State_PENDING)
	cancelling = int(orderpb.State_CANCELLING)
	confirmed  = int(orderpb.State_CONFIRMED)
	cancelled  = int(orderpb.State_CANCELLED)
	review     = int(orderpb.State_REVIEW)
)

func (o order) ended() bool { return o.state != pending && o.state != cancelling }

// waiting says what work has not ended, or nothing.
func (b *books) waiting() string {
	var left []string
	n := 0
	for _, o := range b.orders {
		if !o.ended() {
			n++
		}
	}
	if n > 0 {
		left = append(left, fmt.Sprintf("%d orders under way", n))
	}
	for _, s := range slices.Sorted(maps.Keys(b.backlog)) {
		w := b.backlog[s]
		for _, part := range []struct {
			n    int
			what string
		}{{w.outbox, "events in the outbox"}, {w.pending, "events to try again"}, {w.active, "sagas"}} {
			if part.n > 0 {
				left = append(left, fmt.Sprintf("%s: %d %s", s, part.n, part.what))
			}
		}
	}
	if b.moved {
		left = append(left, "orders came or changed while the audit read")
	}
	return strings.Join(left, ", ")
}

// checks holds the books against each other.
func (b *books) checks() []Check {
	return []Check{
		b.acknowledgedOrdersExist(), b.ordersEnd(), b.oneOrderAKey(), b.oneCaptureAnOrder(), b.moneyAgrees(), b.booksBalance(),
		b.nothingHeldAtTheBank(), b.stockAgrees(), b.reservationsLive(), b.carrierAgrees(), b.oneMessageAKind(),
	}
}

func (b *books) acknowledgedOrdersExist() Check {
	var bad offenders
	for _, a := range b.acknowledged {
		if _, ok := b.orders[a.Reference]; !ok {
			bad.add("order %s was acknowledged and does not exist", a.Reference)
		}
	}
	return bad.check("every acknowledged order exists", "%d acknowledged in the load's journals, %d orders", len(b.acknowledged), len(b.orders))
}

func (b *books) ordersEnd() Check {
	var bad offenders
	count := map[int]int{}
	for _, o := range b.orders {
		count[o.state]++
		if !o.ended() {
			bad.add("order %s is %s", o.id, orderpb.State(o.state))
		}
	}
	for s, w := range b.backlog {
		if w.dead > 0 {
			bad.add("%s has %d dead letters", s, w.dead)
		}
		if w.parked > count[review] {
			bad.add("%s has %d parked sagas and %d orders are in REVIEW", s, w.parked, count[review])
		}
	}
	return bad.check("every order ends", "%d confirmed, %d cancelled, %d in review", count[confirmed], count[cancelled], count[review])
}

func (b *books) oneOrderAKey() Check {
	var bad offenders
	byKey := map[string]string{}
	for _, a := range b.acknowledged {
		if other, ok := byKey[a.Key]; ok && other != a.Reference {
			bad.add("key %s made orders %s and %s", a.Key, other, a.Reference)
		}
		byKey[a.Key] = a.Reference
	}
	type caller struct{ customer, key string }
	made := map[caller]string{}
	for id, o := range b.orders {
		if other, ok := made[caller{o.customer, o.key}]; ok {
			bad.add("key %s made orders %s and %s", o.key, other, id)
		}
		made[caller{o.customer, o.key}] = id
	}
	return bad.check("one order for one idempotency key", "%d keys, %d of them in the load's journals", len(made), len(byKey))
}

func (b *books) oneCaptureAnOrder() Check {
	var bad offenders
	n := 0
	for ref, a := range bank.Totals(b.bank) {
		n += a.Captures
		if a.Captures > 1 {
			bad.add("order %s was captured %d times", ref, a.Captures)
		}
		if _, ok := b.orders[ref]; !ok && a.Captures > 0 {
			bad.add("the bank captured for %s, which is no order", ref)
		}
	}
	return bad.check("at most one capture for an order", "%d captures at the bank", n)
}

func (b *books) moneyAgrees() Check {
	var bad offenders
	theirs, ours := bank.Totals(b.bank), map[string]int64{}
	for _, p := range b.postings {
		if p.account == "bank" {
			ours[p.order] += p.amount
		}
	}
	var sum int64
	for id, o := range b.orders {
		var net int64
		if a := theirs[id]; a != nil {
			net = a.Captured - a.Refunded
		}
		sum += net
		switch {
		case net != ours[id]:
			bad.add("order %s: the bank has %d, our books %d", id, net, ours[id])
		case o.state == confirmed && net != o.total:
			bad.add("order %s is CONFIRMED over %d, the bank has %d", id, o.total, net)
		case o.state == cancelled && net != 0:
			bad.add("order %s is CANCELLED, the bank has %d", id, net)
		}
	}
	return bad.check("bank captures less refunds = our books = confirmed totals", "%d minor units on all three", sum)
}

func (b *books) booksBalance() Check {
	var bad offenders
	by := map[string]int64{}
	for _, p := range b.postings {
		by[p.order] += p.amount
	}
	for id, sum := range by {
		if sum != 0 {
			bad.add("the postings of order %s add up to %d", id, sum)
		}
	}
	return bad.check("double entry adds up to nothing", "%d postings", len(b.postings))
}

func (b *books) nothingHeldAtTheBank() Check {
	var bad offenders
	n := 0
	for id, a := range bank.Totals(b.bank) {
		if o, ok := b.orders[id]; ok && o.state == cancelled && a.State == bank.StateAuthorized {
			bad.add("order %s is CANCELLED and the bank still holds its authorization", id)
		}
		if a.State == bank.StateVoided {
			n++
		}
	}
	return bad.check("no authorization is held for a cancelled order", "%d voided", n)
}

func (b *books) stockAgrees() Check {
	var bad offenders
	shipped := map[string]int64{}
	for _, l := range b.lines {
		if b.reservations[l.order] == "COMMITTED" {
			shipped[l.product] += l.quantity
		}
		switch o := b.orders[l.order]; {
		case o.state == confirmed && b.reservations[l.order] != "COMMITTED":
			bad.add("order %s is CONFIRMED, its goods are %q", l.order, b.reservations[l.order])
		case o.state == cancelled && b.reservations[l.order] == "COMMITTED":
			bad.add("order %s is CANCELLED, its goods went out", l.order)
		}
	}
	var pieces int64
	for _, s := range b.stock {
		pieces += s.initial
		if s.onHand+s.reserved+s.shipped != s.initial {
			bad.add("product %s: %d on hand + %d reserved + %d shipped is not %d", s.product, s.onHand, s.reserved, s.shipped, s.initial)
		}
		if s.shipped != shipped[s.product] {
			bad.add("product %s: %d shipped, the orders say %d", s.product, s.shipped, shipped[s.product])
		}
	}
	return bad.check("initial stock = on hand + reserved + shipped", "%d products, %d pieces", len(b.stock), pieces)
}

func (b *books) reservationsLive() Check {
	var bad offenders
	n := 0
	for id, state := range b.reservations {
		o, ok := b.orders[id]
		switch {
		case !ok:
			bad.add("a reservation is for %s, which is no order", id)
		case state == "RESERVED" && o.ended() && o.state != review:
			bad.add("order %s has ended, its reservation lives", id)
		case state == "RESERVED":
			n++
		}
	}
	return bad.check("no reservation without a live order", "%d live", n)
}

// carrierAgrees holds the carrier's ledger against the orders.
func (b *books) carrierAgrees() Check {
	var bad offenders
	parcels := carrier.Totals(b.carrier)
	for id, o := range b.orders {
		p, known := parcels[id]
		switch {
		case o.state == confirmed && (p.State != carrier.StateDelivered || p.Dispatches != 1):
			bad.add("order %s is CONFIRMED; the carrier took it %d times and it is %q", id, p.Dispatches, p.State)
		case o.state == cancelled && known && p.State != carrier.StateCancelled && p.State != carrier.StateRecalled:
			bad.add("order %s is CANCELLED and %s with the carrier", id, p.State)
		}
	}
	return bad.check("the carrier has every confirmed order once and no cancelled one", "%d shipments", len(parcels))
}

func (b *books) oneMessageAKind() Check {
	var bad offenders
	for m, n := range b.messages {
		if n > 1 {
			bad.add("order %s: %d messages %q", m.order, n, m.kind)
		}
	}
	for id, o := range b.orders {
		if o.state == confirmed && b.messages[message{id, "confirmed"}] != 1 {
			bad.add("order %s is CONFIRMED and its customer was told %d times", id, b.messages[message{id, "confirmed"}])
		}
		if o.state == cancelled && b.messages[message{id, "cancelled"}] != 1 {
			bad.add("order %s is CANCELLED and its customer was told %d times", id, b.messages[message{id, "cancelled"}])
		}
	}
	return bad.check("exactly one message of a kind for an order", "%d messages", len(b.messages))
}
