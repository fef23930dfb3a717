package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// answerLimit bounds what is read of an answer.
const answerLimit = 64 << 20

// client asks the admin listeners of a fleet.
type client struct {
	addresses []*url.URL
	token     string
	actor     string
	http      *http.Client
}

func newClient(c config) (*client, error) {
	addresses, err := c.addresses()
	if err != nil {
		return nil, err
	}
	return &client{addresses: addresses, token: c.AdminToken, actor: c.Actor, http: &http.Client{
		Timeout: c.Timeout,
		// An admin listener sends nobody elsewhere: whoever does is not one,
		// and gets no token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get reads what is at the path, made of unescaped segments, into the answer.
func (c *client) get(ctx context.Context, at *url.URL, query url.Values, answer any, path ...string) error {
	return c.do(ctx, http.MethodGet, at, query, nil, answer, path)
}

// post sends a body there.
func (c *client) post(ctx context.Context, at *url.URL, body, answer any, path ...string) error {
	return c.do(ctx, http.MethodPost, at, nil, body, answer, path)
}

func (c *client) do(ctx context.Context, method string, at *url.URL, query url.Values, body, answer any, path []string) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	for i, segment := range path {
		path[i] = url.PathEscape(segment)
		if segment == "." || segment == ".." { // a name, not a way
			path[i] = strings.ReplaceAll(segment, ".", "%2E")
		}
	}
	target := *at.JoinPath(path...)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Argosy-Actor", c.actor)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // the address is told once
		}
		return &unreachableError{at.String(), err}
	}
	defer resp.Body.Close()
	return read(resp, at, answer)
}

// read decodes an answer, or the problem that it is.
func read(resp *http.Response, at *url.URL, answer any) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return &unreachableError{at.String(), err}
	}
	if len(b) > answerLimit {
		return fmt.Errorf("%s answered more than %d MiB: ask for less with --limit", at, answerLimit>>20)
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if kind == fault.ProblemType {
		var p fault.Problem
		if err := json.Unmarshal(b, &p); err != nil {
			return fmt.Errorf("%s answered %s and no problem document: %w", at, resp.Status, err)
		}
		return fault.FromProblem(p)
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusServiceUnavailable: // of a proxy
		return fault.FromProblem(fault.Problem{Status: resp.StatusCode, Detail: fmt.Sprintf("%s answered %s", at, resp.Status)})
	default:
		return fmt.Errorf("%s answered %s: is it the admin listener of an Argosy program?", at, resp.Status)
	}
	if kind != "application/json" {
		return fmt.Errorf("%s answered %q and no JSON: is it the admin listener of an Argosy program?", at, kind)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("%s answered JSON of another form: is this argosy of the program's release? %w", at, err)
	}
	return nil
}

// serviceInfo is a service as GET /services lists it.
type serviceInfo struct {
	Name      string      `json:"name"`
	Consumes  []eventInfo `json:"consumes"`
	Publishes []eventInfo `json:"publishes"`
	Sagas     []string    `json:"sagas"`
}

type eventInfo struct {
	Topic   string `json:"topic"`
	Message string `json:"message"`
}

// hasEvents reports whether it sends or receives events.
func (s serviceInfo) hasEvents() bool { return len(s.Consumes)+len(s.Publishes) > 0 }

// place is a service and where it is reached.
type place struct {
	at *url.URL
	serviceInfo
}

// places returns the services of all programs, each once: replicas share what
// they know, so any of them will do. What does not answer is given to warn, as
// long as something else does.
func (c *client) places(ctx context.Context, warn func(error)) ([]place, error) {
	var all []place
	var failures []error
	seen := map[string]bool{}
	for _, at := range c.addresses {
		var list struct{ Services []serviceInfo }
		if err := c.get(ctx, at, nil, &list, "services"); err != nil {
			failures = append(failures, err)
			continue
		}
		for _, s := range list.Services {
			if !seen[s.Name] {
				seen[s.Name] = true
				all = append(all, place{at, s})
			}
		}
	}
	if len(failures) == len(c.addresses) {
		return nil, failures[0]
	}
	for _, err := range failures {
		warn(err)
	}
	return all, nil
}

// notFound reports whether err says that there is no such thing.
func notFound(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Code == codes.NotFound
}
