// Package consul is discovery by Consul. A service is reached where its checks
// pass; a registration is a service of the local agent with a TTL check, which
// the process passes as long as it lives.
//
// The shortest program:
//
//	d, err := consul.Opener{}.Open(ctx, discovery.OpenOptions{URL: "consul://127.0.0.1:8500"})
//	if err != nil {
//		return err
//	}
//	defer d.Close()
//	d.Watch(ctx, "order", nil, func(addrs []string, err error) { fmt.Println(addrs, err) })
//
// The URL may choose a data centre, and HTTPS: consul://host:8500?dc=west&tls=true.
// What is secret is not in it: Consul's own client takes token and certificates
// from the variables that all of Consul's tools take them from, CONSUL_HTTP_TOKEN
// and the like. Changes come by blocking queries
// (https://developer.hashicorp.com/consul/api-docs/features/blocking).
package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/argosy-go/argosy/discovery"
)

// How long things take.
const (
	longestQuery = 30 * time.Second // that waits for a change
	callTimeout  = 5 * time.Second  // of any other request
	// shortestQuery bounds the rate of queries on a service that changes all
	// the time, as Consul's documentation asks for.
	shortestQuery = 100 * time.Millisecond
)

// Opener opens a client of a Consul agent.
type Opener struct{}

// Open implements [discovery.Opener]. It connects when it is first used.
func (Opener) Open(_ context.Context, o discovery.OpenOptions) (discovery.Discovery, error) {
	c, err := parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	return &consul{client: client, log: o.Logger(), close: c.Transport.CloseIdleConnections}, nil
}

// parse reads consul://host:port[?dc=name][&tls=true].
func parse(raw string) (*api.Config, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "consul" || u.Hostname() == "" || u.Port() == "" || u.User != nil || (u.Path != "" && u.Path != "/") {
		return nil, errors.New("the URL is consul://host:port")
	}
	c := api.DefaultNonPooledConfig()
	c.Transport.DisableKeepAlives, c.Transport.MaxIdleConnsPerHost = false, 8 // pooled, and closed by Close
	c.Address, c.Scheme = u.Host, "http"
	for key, values := range u.Query() {
		switch value := values[len(values)-1]; key {
		case "dc":
			c.Datacenter = value
		case "tls":
			tls, err := strconv.ParseBool(value)
			if err != nil {
				return nil, fmt.Errorf("tls=%s is neither true nor false", value)
			}
			if tls {
				c.Scheme = "https"
			}
		default:
			return nil, fmt.Errorf("%s is not a parameter of the URL: there are dc and tls", key)
		}
	}
	return c, nil
}

// consul is the adapter.
type consul struct {
	client *api.Client
	log    *slog.Logger
	close  func()
}

// Close implements [discovery.Discovery].
func (c *consul) Close() error {
	c.close()
	return nil
}

// Watch implements [discovery.Resolver].
func (c *consul) Watch(ctx context.Context, service string, _ <-chan struct{}, report func([]string, error)) {
	tell := discovery.Distinct(report)
	var backoff discovery.Backoff
	var index uint64
	for ctx.Err() == nil {
		asked := time.Now()
		addrs, next, err := c.ask(ctx, service, index)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			index = 0 // the next answer comes at once
			tell(nil, fmt.Errorf("consul: watch %s: %w", service, err))
			backoff.Wait(ctx)
			continue
		}
		backoff.Reset()
		tell(addrs, nil)
		index = next // also when it went back, as the server was restored
		if early := shortestQuery - time.Since(asked); early > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(early):
			}
		}
	}
}

// ask returns the set once it differs from the one of index, or when the query
// has waited for long enough. Index 0 does not wait.
func (c *consul) ask(ctx context.Context, service string, index uint64) ([]string, uint64, error) {
	// The server adds up to a sixteenth to the time that it may wait.
	ctx, cancel := context.WithTimeout(ctx, longestQuery+longestQuery/16+callTimeout)
	defer cancel()
	q := (&api.QueryOptions{WaitIndex: index, WaitTime: longestQuery}).WithContext(ctx)
	entries, meta, err := c.client.Health().Service(service, "", true, q)
	if err != nil {
		return nil, 0, err
	}
	addrs := make([]string, 0, len(entries))
	for _, e := range entries {
		host := e.Service.Address
		if host == "" {
			host = e.Node.Address
		}
		addrs = append(addrs, net.JoinHostPort(host, strconv.Itoa(e.Service.Port)))
	}
	return addrs, meta.LastIndex, nil
}
