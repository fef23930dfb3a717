package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// Ports that the system does not give to connections of its own on any system
// in its usual configuration, and that are rarely somebody's.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// ports chooses free ports on the loopback interface. They stay out of the
// range that connections get theirs from, so that a process that is started
// again finds its port free.
type ports struct {
	next, end int
}

func newPorts() *ports {
	p := &ports{end: highestPort}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if fields := bytes.Fields(b); len(fields) == 2 {
			if low, err := strconv.Atoi(string(fields[0])); err == nil && low > lowestPort+1000 {
				p.end = min(p.end, low)
			}
		}
	}
	p.next = lowestPort + rand.N(p.end-lowestPort-500) // two fleets that start at once rarely meet
	return p
}

// free returns an address on a port that was free just now.
func (p *ports) free() (string, error) {
	for ; p.next < p.end; p.next++ {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.next))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", err
		}
		p.next++
		return address, nil
	}
	return "", fmt.Errorf("there is no free port below %d on the loopback interface", p.end)
}
