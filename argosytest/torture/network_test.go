//go:build linux

package torture_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/argosy-go/argosy/argosytest/torture"
)

// echo serves lines on a host until the test ends and returns its address.
func echo(t *testing.T, h *torture.Host) string {
	t.Helper()
	l, err := h.Listen("tcp", h.IP+":0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection, which the clients end
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l.Addr().String()
}

// ask dials an echo from a host and says one line within a second.
func ask(t *testing.T, from *torture.Host, addr string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return say(c, "hello")
}

func say(c net.Conn, word string) error {
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, word); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && line != word+"\n" {
		err = fmt.Errorf("said %q, heard %q", word, line)
	}
	return err
}

// inject injects a fault and returns how to heal it.
func inject(t *testing.T, f torture.Fault) func() {
	t.Helper()
	heal, err := f.Inject(t.Context(), &torture.Scene{Dice: rand.New(rand.NewPCG(1, 1))})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := heal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// network returns a network of namespaces, or ends the test where there is
// none to be had and none is required.
func network(t *testing.T, hosts ...string) *torture.Network {
	t.Helper()
	if err := torture.Missing(); err != nil {
		t.Logf("NOT TESTED: %v", err)
		return nil
	}
	return torture.NewNetwork(t, hosts...)
}

func TestAPartitionSeparatesTwoHostsAndNoOther(t *testing.T) {
	n := network(t, "a", "b", "c")
	if n == nil {
		return
	}
	addr := echo(t, n.Host("a"))
	for name, f := range map[string]torture.Fault{
		"both ways": n.Partition("a", "b"), "only there": n.OneWay("b", "a"), "only back": n.OneWay("a", "b"), "loss of all": n.Loss("a", "b", 1),
	} {
		t.Run(name, func(t *testing.T) {
			heal := inject(t, f)
			if err := ask(t, n.Host("b"), addr); err == nil {
				t.Error("b reaches a")
			}
			for _, other := range []*torture.Host{n.Host("c"), n.Hub} {
				if err := ask(t, other, addr); err != nil {
					t.Errorf("%s does not reach a: %v", other.Name, err)
				}
			}
			heal()
			if err := ask(t, n.Host("b"), addr); err != nil {
				t.Errorf("healed, b does not reach a: %v", err)
			}
		})
	}
}

func TestHostsAreUnreachableFromOutside(t *testing.T) {
	n := network(t, "a")
	if n == nil {
		return
	}
	addr := echo(t, n.Host("a"))
	c, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp", addr)
	if err == nil {
		c.Close()
		t.Errorf("%s answers outside of its network", addr)
	}
}

func TestALoopbackNetworkSaysThatItCannotBeBroken(t *testing.T) {
	n := torture.NewLoopback("a", "b")
	if err := ask(t, n.Host("b"), echo(t, n.Host("a"))); err != nil {
		t.Error(err)
	}
	if n.Breakable() {
		t.Error("it says that it can be broken")
	}
	if _, err := n.Partition("a", "b").Inject(t.Context(), &torture.Scene{}); err == nil {
		t.Error("a partition was made of nothing")
	}
}

func TestABadLine(t *testing.T) {
	n := torture.NewLoopback("a")
	p := torture.NewProxy(t, torture.ProxyConfig{Name: "line", Addr: "127.0.0.1:0", Target: echo(t, n.Host("a"))})
	open := func() net.Conn {
		c, err := n.Hub.Dial(t.Context(), "tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := say(c, "hello"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	t.Run("that is cut ends connections and refuses others", func(t *testing.T) {
		c := open()
		heal := inject(t, p.Cut())
		if err := say(c, "still there?"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection was not reset: %v", err)
		}
		if err := ask(t, n.Hub, p.Addr); err == nil {
			t.Error("another connection was made")
		}
		heal()
		open()
	})
	t.Run("that is silent lets nothing pass, and everything afterwards", func(t *testing.T) {
		c := open()
		heal := inject(t, p.Silence())
		if err := say(c, "late"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("something passed, or the connection ended: %v", err)
		}
		heal()
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "late\n" {
			t.Errorf("%q %v", line, err)
		}
	})
	t.Run("that is slow passes everything", func(t *testing.T) {
		for _, f := range []torture.Fault{p.Delay(20 * time.Millisecond), p.Throttle(1000)} {
			heal := inject(t, f)
			open()
			heal()
		}
	})
}
