package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	orderpb "github.com/argosy-go/argosy/shop/gen/order/v1"
)

// maxBody bounds a request body on every side.
const maxBody = 1 << 20

// codec is what a hand-written handler reads and writes.
type codec struct {
	place func(body []byte) ([]byte, error)
	get   func(id string) ([]byte, error)
}

// servePlain serves with net/http as it comes.
func servePlain(c codec) func(context.Context, options, io.Reader, io.Writer) error {
	return func(_ context.Context, o options, in io.Reader, out io.Writer) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s := &http.Server{Handler: c.handler()}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		err = obey(o, in, out, answer{Addr: "," + l.Addr().String()}, tell)
		err = errors.Join(err, s.Close())
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}
}

func (c codec) handler() http.Handler {
	write := func(w http.ResponseWriter, b []byte, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b) // the client may be gone
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/orders", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			body, err = c.place(body)
		}
		write(w, body, err)
	})
	mux.HandleFunc("GET /v1/orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		b, err := c.get(r.PathValue("id"))
		write(w, b, err)
	})
	return mux
}

// plainProto is protojson, as Argosy uses it.
var plainProto = codec{
	place: func(body []byte) ([]byte, error) {
		var in orderpb.PlaceOrderRequest
		if err := protojson.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		return marshal(place(&in))
	},
	get: func(id string) ([]byte, error) { return marshal(get(id)) },
}

func marshal(m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}

// plainJSON is encoding/json with structs written by hand.
var plainJSON = codec{
	place: func(body []byte) ([]byte, error) {
		var in struct {
			Lines []struct {
				ProductID string `json:"productId"`
				Quantity  int32  `json:"quantity"`
			} `json:"lines"`
			PaymentToken string `json:"paymentToken"`
		}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			return nil, err
		}
		o := jsonOf("01JD7Z0F4W3M8R5T6Y7V9X0A1B")
		for i, l := range in.Lines {
			o.Lines[i].ProductID, o.Lines[i].Quantity = l.ProductID, l.Quantity
		}
		return json.Marshal(o)
	},
	get: func(id string) ([]byte, error) { return json.Marshal(jsonOf(id)) },
}

type jsonOrder struct {
	ID         string       `json:"id"`
	State      string       `json:"state"`
	Lines      []jsonLine   `json:"lines"`
	Total      jsonMoney    `json:"total"`
	CreateTime time.Time    `json:"createTime"`
	UpdateTime time.Time    `json:"updateTime"`
	Events     []jsonChange `json:"events"`
	Delivered  bool         `json:"delivered"`
	Version    int64        `json:"version,string"`
}

type jsonLine struct {
	ProductID string    `json:"productId"`
	Name      string    `json:"name"`
	Quantity  int32     `json:"quantity"`
	UnitPrice jsonMoney `json:"unitPrice"`
	LineTotal jsonMoney `json:"lineTotal"`
}

type jsonMoney struct {
	Currency   string `json:"currency"`
	MinorUnits int64  `json:"minorUnits,string"`
}

type jsonChange struct {
	Time   time.Time `json:"time"`
	State  string    `json:"state"`
	Detail string    `json:"detail"`
}

// jsonOf is what get returns, for encoding/json.
func jsonOf(id string) *jsonOrder {
	p := get(id)
	at := p.CreateTime.AsTime()
	o := &jsonOrder{
		ID: p.Id, State: "PENDING", Total: jsonMoney{"EUR", p.Total.MinorUnits}, CreateTime: at, UpdateTime: at, Version: p.Version,
		Events: []jsonChange{{at, "PENDING", "placed"}},
	}
	for _, l := range p.Lines {
		o.Lines = append(o.Lines, jsonLine{l.ProductId, l.Name, l.Quantity, jsonMoney{"EUR", l.UnitPrice.MinorUnits}, jsonMoney{"EUR", l.LineTotal.MinorUnits}})
	}
	return o
}

// addrs returns the gRPC and the HTTP address of a server.
func addrs(target string) (grpc, http string) {
	grpc, http, _ = strings.Cut(target, ",")
	return grpc, http
}

// loadPlain asks for REST.
func loadPlain(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	_, addr := addrs(o.target)
	w, err := restWorks(o, addr)
	if err != nil {
		return err
	}
	return obey(o, in, out, answer{}, w.load(ctx))
}

// restWorks are the works of all REST clients: the same requests, token and
// idempotency key included, whoever serves them.
func restWorks(o options, addr string) (works, error) {
	token, err := customerToken(o)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	send := func(ctx context.Context, method, path, body string) error {
		r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", "01JD7Z0F4W3M8R5T6Y7V9X0A1B")
		}
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(err, fmt.Errorf("%s: %s", resp.Status, answer))
		}
		return errors.Join(err, resp.Body.Close())
	}
	rest := func(method, path, body string) func(context.Context) (caller, error) {
		return func(ctx context.Context) (caller, error) {
			return unary(func() error { return send(ctx, method, path, body) }), nil
		}
	}
	return works{
		"get":  rest(http.MethodGet, "/v1/orders/01JD7Z0F4W3M8R5T6Y7V9X0A1B", ""),
		"post": rest(http.MethodPost, "/v1/orders", orderBody),
	}, nil
}
