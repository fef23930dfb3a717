//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Network joins hosts. With namespaces every host has an address, interfaces
// and ports of its own, and what is between two of them can be broken.
type Network struct {
	// Hub is where the test itself is: it reaches every host.
	Hub    *Host
	hosts  map[string]*Host
	spaces bool
}

// Host is a machine of a network.
type Host struct {
	Name string
	// IP is the address that other hosts of the network know it by.
	IP    string
	space *namespace // nil on a loopback network
}

// subnet is the network's own; it exists only within its namespaces.
const subnet = "10.213.77."

// Missing says why [NewNetwork] would fail here: it needs root, iproute2 (ip)
// and iptables. nil: nothing is missing.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	for program, from := range map[string]string{"ip": "iproute2", "iptables": "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no %s: install the package %s", program, from)
		}
	}
	return nil
}

// NewNetwork makes a network of hosts in network namespaces, each joined to a
// bridge. It fails the test when something is [Missing]. The namespaces have no
// names: they go with the last process in them, and when the test ends.
func NewNetwork(t testing.TB, hosts ...string) *Network {
	t.Helper()
	if err := Missing(); err != nil {
		t.Fatalf("torture: %v", err)
	}
	n := &Network{hosts: map[string]*Host{}, spaces: true}
	t.Cleanup(n.close)
	if err := n.build(hosts); err != nil {
		t.Fatalf("torture: make a network: %v", err)
	}
	return n
}

func (n *Network) build(hosts []string) error {
	hub, err := n.add("hub", subnet+"1")
	if err != nil {
		return err
	}
	n.Hub = hub
	if err := hub.run("ip link add name br0 type bridge", "ip addr add "+hub.IP+"/24 dev br0",
		"ip link set dev br0 up", "ip link set dev lo up"); err != nil {
		return err
	}
	for i, name := range hosts {
		h, err := n.add(name, fmt.Sprint(subnet, i+10))
		if err != nil {
			return err
		}
		port := fmt.Sprint("port", i)
		if err := hub.run("ip link add name "+port+" type veth peer name eth0 netns "+h.space.path(),
			"ip link set dev "+port+" master br0 up"); err != nil {
			return err
		}
		if err := h.run("ip addr add "+h.IP+"/24 dev eth0", "ip link set dev eth0 up", "ip link set dev lo up"); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) add(name, ip string) (*Host, error) {
	if n.hosts[name] != nil {
		return nil, fmt.Errorf("two hosts are called %q", name)
	}
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n.hosts[name] = &Host{Name: name, IP: ip, space: space}
	return n.hosts[name], nil
}

func (n *Network) close() {
	for _, h := range n.hosts {
		h.space.close()
	}
}

// NewLoopback returns a network without namespaces: each host is an address of
// 127.0.0.0/8 on the machine of the test. Partitions are not possible there.
func NewLoopback(hosts ...string) *Network {
	block := os.Getpid() % 200
	n := &Network{Hub: &Host{Name: "hub", IP: "127.0.0.1"}, hosts: map[string]*Host{}}
	for i, name := range hosts {
		n.hosts[name] = &Host{Name: name, IP: fmt.Sprintf("127.77.%d.%d", block, i+10)}
	}
	return n
}

// Host returns the host with the name; it panics when there is none.
func (n *Network) Host(name string) *Host {
	h := n.hosts[name]
	if h == nil {
		panic("torture: no host is called " + name)
	}
	return h
}

// Breakable reports whether faults can be put between hosts.
func (n *Network) Breakable() bool { return n.spaces }

// Do calls f on the host: sockets that f makes, and processes that it starts,
// are there. Goroutines that f starts are not.
func (h *Host) Do(f func() error) error {
	if h.space == nil {
		return f()
	}
	return h.space.do(f)
}

// Dial is net.Dialer.DialContext from the host, to an IP address and port.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = h.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen is net.Listen on the host.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// enter moves the calling thread, which is locked, to the host for good.
func (h *Host) enter() error {
	if h.space == nil {
		return nil
	}
	return h.space.enter()
}

// run runs commands on the host. Their words hold no spaces.
func (h *Host) run(commands ...string) error {
	return h.Do(func() error {
		for _, c := range commands {
			words := strings.Fields(c)
			if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
				return fmt.Errorf("%s, on %s: %w: %s", c, h.Name, err, strings.TrimSpace(string(out)))
			}
		}
		return nil
	})
}
