package audit

import (
	"slices"
	"testing"

	"github.com/argosy-go/argosy/shop/witness/bank"
	"github.com/argosy-go/argosy/shop/witness/carrier"
	"github.com/argosy-go/argosy/shop/witness/ledger"
)

// good returns the books of a shop that has sold three of a hundred bananas
// under "sold" and given them back under "lost".
func good() *books {
	return &books{
		acknowledged: []ledger.Entry{{Key: "k1", Reference: "sold"}, {Key: "k2", Reference: "lost"}},
		orders: map[string]order{
			"sold": {id: "sold", customer: "c", key: "k1", state: confirmed, total: 300},
			"lost": {id: "lost", customer: "c", key: "k2", state: cancelled, total: 300},
		},
		lines:        []line{{"sold", "bananas", 3}, {"lost", "bananas", 3}},
		postings:     []posting{{"sold", "bank", 300}, {"sold", "sales", -300}},
		stock:        []stock{{product: "bananas", onHand: 97, shipped: 3, initial: 100}},
		reservations: map[string]string{"sold": "COMMITTED", "lost": "RELEASED"},
		messages:     map[message]int{{"sold", "confirmed"}: 1, {"lost", "cancelled"}: 1},
		bank: []ledger.Entry{
			{Kind: bank.Authorize, Outcome: bank.Authorized, Reference: "sold", Amount: 300},
			{Kind: bank.Capture, Outcome: bank.Captured, Reference: "sold", Amount: 300},
			{Kind: bank.Authorize, Outcome: bank.Authorized, Reference: "lost", Amount: 300},
			{Kind: bank.Void, Outcome: bank.Voided, Reference: "lost"},
		},
		carrier: []ledger.Entry{
			{Kind: carrier.Book, Outcome: carrier.Booked, Reference: "sold"},
			{Kind: carrier.Dispatch, Outcome: carrier.Dispatched, Reference: "sold"},
		},
		backlog: map[string]backlog{"order": {}},
	}
}

func TestTheAuditSeesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *books)
		red   []string
	}{
		"nothing is wrong": {func(b *books) {}, nil},
		"an acknowledged order is gone": {func(b *books) {
			b.acknowledged = append(b.acknowledged, ledger.Entry{Key: "k3", Reference: "gone"})
		}, []string{"every acknowledged order exists"}},
		"an order hangs": {func(b *books) {
			b.orders["late"] = order{id: "late", customer: "c", key: "k3", state: pending}
		}, []string{"every order ends"}},
		"an event is a dead letter":              {func(b *books) { b.backlog["notify"] = backlog{dead: 1} }, []string{"every order ends"}},
		"a saga is parked, and no order says so": {func(b *books) { b.backlog["order"] = backlog{parked: 1} }, []string{"every order ends"}},
		"a key made two orders": {func(b *books) {
			b.orders["twin"] = order{id: "twin", customer: "c", key: "k2", state: review}
		}, []string{"one order for one idempotency key"}},
		"a card was charged twice": {func(b *books) {
			b.bank = append(b.bank, ledger.Entry{Kind: bank.Capture, Outcome: bank.Captured, Reference: "sold", Amount: 300})
		}, []string{"at most one capture for an order", "bank captures less refunds = our books = confirmed totals"}},
		"the bank charged for no order": {func(b *books) {
			b.bank = append(b.bank, ledger.Entry{Kind: bank.Capture, Outcome: bank.Captured, Reference: "none", Amount: 1})
		}, []string{"at most one capture for an order"}},
		"a posting is half":                           {func(b *books) { b.postings = b.postings[:1] }, []string{"double entry adds up to nothing"}},
		"a cancelled order is still held at the bank": {func(b *books) { b.bank = b.bank[:3] }, []string{"no authorization is held for a cancelled order"}},
		"a banana is missing":                         {func(b *books) { b.stock[0].onHand-- }, []string{"initial stock = on hand + reserved + shipped"}},
		"goods of a cancelled order went out": {func(b *books) {
			b.reservations["lost"] = "COMMITTED"
			b.stock[0].onHand, b.stock[0].shipped = 94, 6
		}, []string{"initial stock = on hand + reserved + shipped"}},
		"a reservation outlives its order": {func(b *books) { b.reservations["lost"] = "RESERVED" }, []string{"no reservation without a live order"}},
		"a confirmed order was never dispatched": {func(b *books) { b.carrier = b.carrier[:1] },
			[]string{"the carrier has every confirmed order once and no cancelled one"}},
		"a cancelled order is booked": {func(b *books) {
			b.carrier = append(b.carrier, ledger.Entry{Kind: carrier.Book, Outcome: carrier.Booked, Reference: "lost"})
		}, []string{"the carrier has every confirmed order once and no cancelled one"}},
		"a customer was told twice": {func(b *books) { b.messages[message{"sold", "confirmed"}]++ }, []string{"exactly one message of a kind for an order"}},
		"a customer was not told":   {func(b *books) { clear(b.messages) }, []string{"exactly one message of a kind for an order"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := good()
			c.spoil(b)
			var red []string
			for _, check := range b.checks() {
				if !check.OK {
					red = append(red, check.Name)
				}
			}
			if !slices.Equal(red, c.red) {
				t.Errorf("red are %q, want %q", red, c.red)
			}
		})
	}
}

func TestAShopWithWorkLeftIsNotQuiet(t *testing.T) {
	b := good()
	if w := b.waiting(); w != "" {
		t.Errorf("a shop at rest waits for %s", w)
	}
	b.backlog["order"] = backlog{outbox: 2, active: 1}
	if w, want := b.waiting(), "order: 2 events in the outbox, order: 1 sagas"; w != want {
		t.Errorf("it waits for %q, want %q", w, want)
	}
}

func TestBooksThatMovedWhileTheyWereReadAreNotQuiet(t *testing.T) {
	b := good()
	if w := b.waiting(); w != "" {
		t.Errorf("good books wait for %s", w)
	}
	b.moved = true
	if b.waiting() == "" {
		t.Error("orders came while the books were read, and nothing is waited for")
	}
}
