package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/argosy-go/argosy/shop/seed"
)

// fake is a small API of the shape that the page talks to: enough to look at
// the page before, and without, a fleet.
//
//	go test ./shop/web -serve 127.0.0.1:8099
//
// Anybody may sign in with the password "ahoy".
type fake struct {
	mu     sync.Mutex
	cart   map[string]int
	orders []*fakeOrder
	byKey  map[string]*fakeOrder
	places int // POST /v1/orders seen
}

type object = map[string]any

type fakeOrder struct {
	body   object
	state  string
	events []object
	lines  []object
	total  int64
	change chan struct{} // closed at the next change
	done   bool
}

func newFake() *fake {
	return &fake{cart: map[string]int{}, byKey: map[string]*fakeOrder{}}
}

func price(minor int64) object {
	return object{"currency": "EUR", "minorUnits": strconv.FormatInt(minor, 10)}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, detail string) {
	reply(w, status, object{"status": status, "title": http.StatusText(status), "detail": detail})
}

func (f *fake) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/sessions", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Email, Password string }
		json.NewDecoder(r.Body).Decode(&in)
		if in.Password != "ahoy" {
			problem(w, http.StatusUnauthorized, "no one has this address and password")
			return
		}
		reply(w, 200, object{"token": "t"})
	})
	mux.HandleFunc("GET /v1/products", f.products)
	mux.HandleFunc("GET /v1/cart", f.signed(func(w http.ResponseWriter, r *http.Request) { reply(w, 200, f.cartNow()) }))
	mux.HandleFunc("PUT /v1/cart/items/{id}", f.signed(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Quantity int }
		json.NewDecoder(r.Body).Decode(&in)
		f.cart[r.PathValue("id")] = in.Quantity
		reply(w, 200, f.cartNow())
	}))
	mux.HandleFunc("DELETE /v1/cart/items/{id}", f.signed(func(w http.ResponseWriter, r *http.Request) {
		delete(f.cart, r.PathValue("id"))
		reply(w, 200, f.cartNow())
	}))
	mux.HandleFunc("POST /v1/orders", f.signed(f.place))
	mux.HandleFunc("GET /v1/orders", f.signed(func(w http.ResponseWriter, r *http.Request) {
		var all []object
		for i := len(f.orders) - 1; i >= 0; i-- {
			all = append(all, f.orders[i].json())
		}
		reply(w, 200, object{"orders": all})
	}))
	mux.HandleFunc("/v1/orders/{call}", f.order)
	mux.Handle("/", Handler())
	return mux
}

func (f *fake) signed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" {
			problem(w, http.StatusUnauthorized, "sign in first")
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		h(w, r)
	}
}

func (f *fake) products(w http.ResponseWriter, r *http.Request) {
	query := strings.ToLower(r.URL.Query().Get("query"))
	var all []object
	for _, p := range seed.Products() {
		if strings.Contains(strings.ToLower(p.Name+" "+p.Category), query) {
			all = append(all, object{"id": p.ID, "name": p.Name, "category": p.Category, "emoji": p.Emoji,
				"description": p.Description, "price": price(p.Price)})
		}
	}
	reply(w, 200, object{"products": all})
}

func (f *fake) lines(quantity func(id string) int) (lines []object, total int64) {
	for _, p := range seed.Products() {
		if q := quantity(p.ID); q > 0 {
			total += p.Price * int64(q)
			lines = append(lines, object{"productId": p.ID, "name": p.Name, "quantity": q,
				"unitPrice": price(p.Price), "lineTotal": price(p.Price * int64(q))})
		}
	}
	return lines, total
}

func (f *fake) cartNow() object {
	lines, total := f.lines(func(id string) int { return f.cart[id] })
	cart := object{"lines": lines, "total": price(total)}
	if len(lines) > 2 {
		cart["pricesAsOf"] = "2026-01-02T03:04:05Z"
	}
	return cart
}

func (f *fake) place(w http.ResponseWriter, r *http.Request) {
	f.places++
	var in struct {
		PaymentToken string
		Lines        []struct {
			ProductID string
			Quantity  int
		}
	}
	json.NewDecoder(r.Body).Decode(&in)
	key := r.Header.Get("Idempotency-Key")
	o := f.byKey[key]
	if o == nil {
		wanted := map[string]int{}
		for _, l := range in.Lines {
			wanted[l.ProductID] = l.Quantity
		}
		lines, total := f.lines(func(id string) int { return wanted[id] })
		o = &fakeOrder{state: "PENDING", change: make(chan struct{}), lines: lines, total: total, body: object{
			"id": fmt.Sprintf("01JD%08d", len(f.orders)+1), "createTime": time.Now().UTC(), "lines": lines, "total": price(total)}}
		o.add("PENDING", "accepted")
		f.byKey[key] = o
		f.orders = append(f.orders, o)
		go f.fulfil(o, in.PaymentToken)
		if in.PaymentToken == "tok_timeout_after_commit" {
			problem(w, http.StatusServiceUnavailable, "the answer is lost")
			return
		}
	}
	reply(w, 200, o.json())
}

// add is called with the lock held.
func (o *fakeOrder) add(state, detail string) {
	o.state = state
	o.events = append(o.events, object{"time": time.Now().UTC(), "state": state, "detail": detail})
	close(o.change)
	o.change = make(chan struct{})
}

func (o *fakeOrder) json() object {
	out := object{"state": o.state, "events": o.events, "delivered": o.done}
	for k, v := range o.body {
		out[k] = v
	}
	return out
}

// fulfil plays a fulfilment for as long as the process lives.
func (f *fake) fulfil(o *fakeOrder, token string) {
	steps := [][2]string{{"PENDING", "stock reserved"}, {"PENDING", "payment authorized"}, {"PENDING", "shipment booked"}, {"CONFIRMED", "paid, and with the carrier as AR0123456789"}}
	if token == "tok_decline" {
		steps = [][2]string{{"PENDING", "stock reserved"}, {"CANCELLED", "the bank declined the card"}}
	}
	for _, s := range steps {
		<-time.After(900 * time.Millisecond)
		f.mu.Lock()
		if o.state == "CANCELLED" {
			f.mu.Unlock()
			return
		}
		o.add(s[0], s[1])
		f.mu.Unlock()
	}
	<-time.After(2 * time.Second)
	f.mu.Lock()
	defer f.mu.Unlock()
	if o.state == "CONFIRMED" {
		o.done = true
		o.add("CONFIRMED", "delivered")
	}
}

// order answers GET {id}, GET {id}:watch and POST {id}:cancel.
func (f *fake) order(w http.ResponseWriter, r *http.Request) {
	id, verb, _ := strings.Cut(r.PathValue("call"), ":")
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.orders {
		if o.body["id"] != id {
			continue
		}
		switch verb {
		case "cancel":
			o.add("CANCELLED", "cancelled as you asked")
			reply(w, 200, o.json())
		case "watch":
			f.watch(w, r, o)
		default:
			reply(w, 200, o.json())
		}
		return
	}
	problem(w, http.StatusNotFound, "there is no such order")
}

// watch is called, and returns, with the lock held.
func (f *fake) watch(w http.ResponseWriter, r *http.Request, o *fakeOrder) {
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		text, _ := json.Marshal(o.json())
		fmt.Fprintf(w, "data: %s\n\n", text)
		w.(http.Flusher).Flush()
		if o.state != "PENDING" {
			fmt.Fprint(w, "event: end\ndata: {}\n\n")
			return
		}
		change := o.change
		f.mu.Unlock()
		select {
		case <-change:
		case <-r.Context().Done():
		}
		f.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
}
