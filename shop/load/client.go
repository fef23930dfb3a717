package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
)

// client is a customer's browser.
type client struct {
	edges []string // URLs
	turn  atomic.Uint64
	http  *http.Client
	token string
}

func newClient(urls string) *client {
	var edges []string
	for url := range strings.SplitSeq(urls, ",") {
		edges = append(edges, strings.TrimSuffix(strings.TrimSpace(url), "/"))
	}
	return &client{
		edges: edges,
		http:  &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}},
	}
}

type placement struct {
	Lines        []line `json:"lines"`
	PaymentToken string `json:"paymentToken"`
}

type line struct {
	ProductID string `json:"productId"`
	Quantity  int    `json:"quantity"`
}

// failure is an answer that was not wanted.
type failure struct {
	what  string
	again bool // another attempt may succeed
}

func (f *failure) Error() string { return f.what }

func (c *client) signIn(ctx context.Context, email, password string) error {
	var session struct{ Token string }
	if err := c.post(ctx, "/v1/sessions", "", map[string]string{"email": email, "password": password}, &session); err != nil {
		return fmt.Errorf("sign in as %s: %w", email, err)
	}
	c.token = session.Token
	return nil
}

func (c *client) place(ctx context.Context, key string, p placement) (string, *failure) {
	var order struct{ ID string }
	err := c.post(ctx, "/v1/orders", key, p, &order)
	return order.ID, err
}

func (c *client) cancel(ctx context.Context, id string) *failure {
	return c.post(ctx, "/v1/orders/"+id+":cancel", "cancel-"+id, map[string]string{"reason": "changed my mind"}, &struct{}{})
}

// post sends one request and decodes the answer.
func (c *client) post(ctx context.Context, path, key string, body, reply any) *failure {
	b, err := json.Marshal(body)
	if err != nil {
		return &failure{what: err.Error()}
	}
	resp, err := c.send(ctx, path, key, b)
	if err != nil {
		return &failure{what: "no answer", again: true}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return &failure{what: "answer broke off", again: true}
	}
	if resp.StatusCode >= 300 {
		var problem struct{ Reason string }
		_ = json.Unmarshal(answer, &problem) // not every proxy between answers with a problem document
		again := resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusConflict
		return &failure{what: strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", problem.Reason)), again: again}
	}
	if err := json.Unmarshal(answer, reply); err != nil {
		return &failure{what: "answer is not JSON"}
	}
	return nil
}

// send sends a request to the edge whose turn it is, or else to the next at
// which somebody listens: nothing has been said to one that takes no connection.
func (c *client) send(ctx context.Context, path, key string, body []byte) (resp *http.Response, err error) {
	first := c.turn.Add(1)
	for i := range uint64(len(c.edges)) {
		req, rerr := http.NewRequestWithContext(ctx, http.MethodPost, c.edges[(first+i)%uint64(len(c.edges))]+path, bytes.NewReader(body))
		if rerr != nil {
			return nil, rerr
		}
		req.Header.Set("Content-Type", "application/json")
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		if resp, err = c.http.Do(req); !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return resp, err
}
