// Package etcd is discovery by etcd (version 3). An address of a service is a
// key under a lease, so that it goes when its process does:
//
//	/argosy/order/10.1.0.7:9090
//
// The shortest program:
//
//	d, err := etcd.Opener{}.Open(ctx, discovery.OpenOptions{URL: "etcd://10.0.0.1:2379,10.0.0.2:2379"})
//	if err != nil {
//		return err
//	}
//	defer d.Close()
//	d.Watch(ctx, "order", nil, func(addrs []string, err error) { fmt.Println(addrs, err) })
//
// The path of the URL is the prefix of the keys, "/argosy" where there is none,
// so that fleets can share an etcd. User and password may be in the URL's user
// part. Changes are pushed; each watch reads the whole set again every now and
// then, by which it also finds out that etcd is away.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/argosy-go/argosy/discovery"
)

// How long things take.
const (
	defaultPrefix = "/argosy"
	callTimeout   = 5 * time.Second  // of one request
	readAgain     = 15 * time.Second // after so long without a change
)

// Opener opens a client of etcd.
type Opener struct{}

// Open implements [discovery.Opener]. It connects when it is first used.
func (Opener) Open(_ context.Context, o discovery.OpenOptions) (discovery.Discovery, error) {
	return open(o, readAgain, callTimeout)
}

func open(o discovery.OpenOptions, again, timeout time.Duration) (*etcd, error) {
	c, prefix, err := parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	// Its client logs each attempt to connect; what matters comes as errors.
	c.Logger = zap.NewNop()
	c.DialKeepAliveTime, c.DialKeepAliveTimeout = 10*time.Second, callTimeout
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	return &etcd{client: client, prefix: prefix, log: o.Logger(), again: again, timeout: timeout}, nil
}

// parse reads etcd://[user:password@]host:port[,host:port...][/prefix].
func parse(raw string) (c clientv3.Config, prefix string, err error) {
	rest, ok := strings.CutPrefix(raw, "etcd://")
	if !ok {
		return c, "", errors.New("the URL begins with etcd://")
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if i := strings.LastIndex(hosts, "@"); i >= 0 {
		u, err := url.Parse("etcd://" + hosts[:i+1] + "host")
		if err != nil || u.User == nil {
			return c, "", errors.New("the user part of the URL cannot be read") // and not shown: it has a password
		}
		c.Username = u.User.Username()
		c.Password, _ = u.User.Password()
		hosts = hosts[i+1:]
	}
	for h := range strings.SplitSeq(hosts, ",") {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			return c, "", fmt.Errorf("%q is not host:port", h)
		}
		c.Endpoints = append(c.Endpoints, "http://"+h)
	}
	if prefix = defaultPrefix; strings.Trim(path, "/") != "" {
		prefix = "/" + strings.Trim(path, "/")
	}
	return c, prefix, nil
}

// etcd is the adapter.
type etcd struct {
	client         *clientv3.Client
	prefix         string
	log            *slog.Logger
	again, timeout time.Duration
}

// Close implements [discovery.Discovery].
func (e *etcd) Close() error { return e.client.Close() }

// folder is what the keys of a service begin with.
func (e *etcd) folder(service string) string { return e.prefix + "/" + service + "/" }

// Watch implements [discovery.Resolver].
func (e *etcd) Watch(ctx context.Context, service string, _ <-chan struct{}, report func([]string, error)) {
	tell := discovery.Distinct(report)
	var backoff discovery.Backoff
	for ctx.Err() == nil {
		err := e.follow(ctx, service, func(addrs []string) {
			backoff.Reset()
			tell(addrs, nil)
		})
		if err != nil && ctx.Err() == nil {
			tell(nil, fmt.Errorf("etcd: watch %s: %w", service, err))
			backoff.Wait(ctx)
		}
	}
}

// follow reads the set and then its changes, without a gap between them, until
// it is time to read it again, or something fails.
func (e *etcd) follow(ctx context.Context, service string, tell func([]string)) error {
	folder := e.folder(service)
	reading, done := context.WithTimeout(ctx, e.timeout)
	read, err := e.client.Get(reading, folder, clientv3.WithPrefix())
	done()
	if err != nil {
		return err
	}
	set := map[string]bool{}
	for _, kv := range read.Kvs {
		set[strings.TrimPrefix(string(kv.Key), folder)] = true
	}
	tell(keys(set))
	watching, over := context.WithTimeout(ctx, e.again)
	defer over()
	// A member that has lost its leader must not keep us with what it has.
	changes := e.client.Watch(clientv3.WithRequireLeader(watching), folder, clientv3.WithPrefix(), clientv3.WithRev(read.Header.Revision+1))
	for c := range changes {
		if err := c.Err(); err != nil && watching.Err() == nil {
			return err
		}
		for _, ev := range c.Events {
			if addr := strings.TrimPrefix(string(ev.Kv.Key), folder); ev.Type == clientv3.EventTypeDelete {
				delete(set, addr)
			} else {
				set[addr] = true
			}
		}
		tell(keys(set))
	}
	if watching.Err() == nil {
		return errors.New("the watch ended")
	}
	return nil
}

func keys(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for k := range set {
		all = append(all, k)
	}
	return all
}
