// Package partner is how services of the shop talk to programs of others: the
// bank and the carrier. It turns what can go wrong on the way into errors that
// a saga can act on: certainly not done, refused, or unknown.
//
//	bank := partner.New(partner.Config{Name: "bank", URL: url, Secret: secret, Dir: s.Dir, Now: s.Now})
//	s.Handle("POST /v1/webhooks/bank", bank.Webhooks(onNotice))
//	...
//	err := bank.Post(ctx, "/authorizations", order+"/authorize", request, &reply)
package partner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/shop/witness"
)

// Config says whom a [Client] calls.
type Config struct {
	// Name is the partner's, as in "bank".
	Name string
	// URL returns where the partner is. When it returns nothing, the partner
	// is the witness that works in the fleet's data directory.
	URL func() string
	// Secret returns what the partner signs its webhooks with. When it returns
	// nothing, it is the secret of the fleet's data directory: see [Secret].
	Secret func() string
	// Dir returns the fleet's data directory.
	Dir func() string
	// Now is the clock.
	Now func() time.Time
	// Timeout returns how long one attempt may take. Nil, or zero: 2 s.
	Timeout func() time.Duration
}

// Client calls one partner. Safe for concurrent use.
type Client struct {
	c    Config
	http *http.Client
	own  atomic.Pointer[string] // the secret of the data directory, once it is known
	mu   sync.Mutex
	url  string // where the witness was last found
}

// maxReply bounds what a partner may answer.
const maxReply = 1 << 20

// New returns a client. It calls the functions of c when it is used, so that
// they may return settings that have not been read yet.
func New(c Config) *Client {
	return &Client{c: c, http: &http.Client{
		Transport: &http.Transport{MaxIdleConns: 128, MaxIdleConnsPerHost: 128, IdleConnTimeout: time.Minute},
	}}
}

// Post sends one keyed operation and decodes the answer into reply. The same
// key may be sent again whatever became of it.
//
// Errors: NotDone when the partner was not reached; UNAVAILABLE or
// DEADLINE_EXCEEDED when it is unknown whether it acted; FAILED_PRECONDITION,
// with the partner's code as the reason, when it refused.
func (c *Client) Post(ctx context.Context, path, key string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("%s: encode: %w", c.c.Name, err)
	}
	base, err := c.base(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%s: %w", c.c.Name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.transport(err)
	}
	defer resp.Body.Close()
	return c.answer(resp, reply)
}

const defaultTimeout = 2 * time.Second

func (c *Client) timeout() time.Duration {
	if c.c.Timeout == nil {
		return defaultTimeout
	}
	return cmp.Or(c.c.Timeout(), defaultTimeout)
}

// base returns the partner's URL, and looks for a witness that is not known.
func (c *Client) base(ctx context.Context) (string, error) {
	if u := c.c.URL(); u != "" {
		return strings.TrimSuffix(u, "/"), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.url == "" {
		a, ok := witness.Find(ctx, Directory(c.c.Dir()), c.c.Name)
		if !ok {
			return "", c.away(errors.New("it was not found"))
		}
		c.url = a.URL()
	}
	return c.url, nil
}

// transport sorts the errors of a request that got no answer.
func (c *Client) transport(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		c.mu.Lock()
		c.url = "" // it may have moved
		c.mu.Unlock()
		return c.away(err)
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return fault.New(codes.DeadlineExceeded, "PARTNER_TIMEOUT", "the %s did not answer in time", c.c.Name).Wrap(err)
	}
	return fault.New(codes.Unavailable, "PARTNER_BROKE_OFF", "the %s broke off", c.c.Name).Wrap(err)
}

func (c *Client) away(cause error) error {
	return fault.New(codes.Unavailable, "PARTNER_AWAY", "the %s cannot be reached", c.c.Name).Wrap(cause).Refused()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// answer reads what the partner said.
func (c *Client) answer(resp *http.Response, reply any) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return c.transport(err)
	}
	switch {
	case resp.StatusCode < 300:
		if err := json.Unmarshal(body, reply); err != nil {
			return fault.New(codes.Unavailable, "PARTNER_GARBLED", "the %s answered something that is not understood", c.c.Name).Wrap(err)
		}
		return nil
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return fault.New(codes.Unavailable, "PARTNER_FAILING", "the %s answered %s", c.c.Name, resp.Status)
	}
	var refusal struct{ Code, Message string }
	if err := json.Unmarshal(body, &refusal); err != nil || refusal.Code == "" {
		refusal.Code, refusal.Message = "PARTNER_REFUSED", "the "+c.c.Name+" answered "+resp.Status
	}
	return fault.New(codes.FailedPrecondition, refusal.Code, "%s", refusal.Message)
}

// Directory returns where the witnesses of a fleet work.
func Directory(data string) string { return filepath.Join(data, "witness") }
