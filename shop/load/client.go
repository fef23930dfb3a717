package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// client is a customer's browser.
type client struct {
	url   string
	http  *http.Client
	token string
}

func newClient(url string) *client {
	return &client{
		url:  strings.TrimSuffix(url, "/"),
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024}},
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader(b))
	if err != nil {
		return &failure{what: err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
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
