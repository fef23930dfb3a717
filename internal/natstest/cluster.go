// Package natstest gives tests a NATS cluster: servers with JetStream, each a
// process of its own, that sync what they acknowledge and can be killed.
//
//	c := natstest.Start(t, 3)
//	b, err := nats.Opener{}.Open(ctx, broker.OpenOptions{URL: c.URL()})
//	name := c.Leader("ARGOSY")
//	c.Kill(name)
//	c.Restart(name)
package natstest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// patience bounds a wait for the cluster: an election takes up to 9 s.
	patience = 60 * time.Second
	// tick is how often it is asked.
	tick = 50 * time.Millisecond
)

// Cluster is a cluster that ends with its test. Its methods are for the
// goroutine of the test.
type Cluster struct {
	t       testing.TB
	program string
	nodes   []*node
}

// node is one server.
type node struct {
	name, client, route, routes, dir string
	cmd                              *exec.Cmd // nil: it was killed
	out                              *output
}

// Start builds the program of the servers and starts n of them; it returns when
// the cluster takes streams.
func Start(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{t: t, program: filepath.Join(t.TempDir(), "natsd")}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.program, "github.com/argosy-go/argosy/e2e/natsd").CombinedOutput(); err != nil {
		t.Fatalf("build natsd: %v\n%s", err, out)
	}
	addresses := free(t, 2*n)
	var routes []string
	for _, a := range addresses[n:] {
		routes = append(routes, "nats://"+a)
	}
	for i := range n {
		c.nodes = append(c.nodes, &node{
			name: fmt.Sprint("n", i+1), client: addresses[i], route: addresses[n+i], routes: strings.Join(routes, ","),
			dir: t.TempDir(), out: &output{},
		})
	}
	for _, d := range c.nodes {
		c.start(d)
	}
	t.Cleanup(c.stop)
	c.await("the cluster takes no streams", func(ctx context.Context, js jetstream.JetStream) bool {
		_, err := js.AccountInfo(ctx)
		return err == nil
	})
	return c
}

// free returns n addresses that nobody listens at.
func free(t testing.TB, n int) []string {
	t.Helper()
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // all at the end, so that no two are the same
		all = append(all, l.Addr().String())
	}
	return all
}

func (c *Cluster) start(d *node) {
	c.t.Helper()
	host, port, _ := net.SplitHostPort(d.client)
	_, route, _ := net.SplitHostPort(d.route)
	d.cmd = exec.Command(c.program, host, port, d.dir, d.name, route, d.routes)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// stop kills what runs: what a drain of a node takes is no test's business.
func (c *Cluster) stop() {
	for _, d := range c.nodes {
		c.end(d)
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", d.name, d.out.tail())
		}
	}
}

func (c *Cluster) end(d *node) {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGKILL) // it may have gone
		_ = d.cmd.Wait()                          // it was killed
		d.cmd = nil
	}
}

// URL lists the servers, for clients.
func (c *Cluster) URL() string {
	var all []string
	for _, d := range c.nodes {
		all = append(all, "nats://"+d.client)
	}
	return strings.Join(all, ",")
}

// node returns the server of that name.
func (c *Cluster) node(name string) *node {
	c.t.Helper()
	for _, d := range c.nodes {
		if d.name == name {
			return d
		}
	}
	c.t.Fatalf("the cluster has no node %q", name)
	return nil
}

// Kill kills a server without a word.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	c.end(c.node(name))
}

// Restart starts a server that was killed, with what it has on its disk.
func (c *Cluster) Restart(name string) {
	c.t.Helper()
	c.start(c.node(name))
}

// Leader returns the server that leads the stream, once one does.
func (c *Cluster) Leader(stream string) (name string) {
	c.t.Helper()
	c.await("nobody leads "+stream, func(ctx context.Context, js jetstream.JetStream) bool {
		if s, err := js.Stream(ctx, stream); err == nil && s.CachedInfo().Cluster != nil {
			name = s.CachedInfo().Cluster.Leader
		}
		return name != "" && c.node(name).cmd != nil
	})
	return name
}

// AwaitReplicas returns when n servers beside its leader have all that the
// stream has.
func (c *Cluster) AwaitReplicas(stream string, n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%s has less than %d replicas beside its leader", stream, n), func(ctx context.Context, js jetstream.JetStream) bool {
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		current := 0
		for _, r := range s.CachedInfo().Cluster.Replicas {
			if r.Current && !r.Offline {
				current++
			}
		}
		return current >= n
	})
}

// Drop deletes streams, so that the next client finds an empty cluster.
func (c *Cluster) Drop(streams ...string) {
	c.t.Helper()
	for _, name := range streams {
		c.await(name+" is still there", func(ctx context.Context, js jetstream.JetStream) bool {
			_ = js.DeleteStream(ctx, name) // what matters is that it is gone
			_, err := js.Stream(ctx, name)
			return err == jetstream.ErrStreamNotFound
		})
	}
}

// await asks until the answer is yes.
func (c *Cluster) await(missing string, ask func(context.Context, jetstream.JetStream) bool) {
	c.t.Helper()
	deadline := time.After(patience)
	for again := time.Tick(tick); !c.ask(ask); {
		select {
		case <-again:
		case <-deadline:
			c.t.Fatalf("natstest: %s", missing)
		}
	}
}

// ask connects to a server that runs.
func (c *Cluster) ask(ask func(context.Context, jetstream.JetStream) bool) bool {
	nc, err := nats.Connect(c.URL(), nats.Timeout(time.Second))
	if err != nil {
		return false
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	return ask(ctx, js)
}

// output keeps what a process writes.
type output struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(p)
}

// tail returns the last lines.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.Split(o.all.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
