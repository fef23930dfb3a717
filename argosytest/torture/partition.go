//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Partition drops every packet between two hosts, both ways, for up to ten
// seconds. Nobody is told: connections hang.
func (n *Network) Partition(a, b string) Fault {
	return n.drops(fmt.Sprintf("part %s and %s", a, b), 10*time.Second, rule{a, b, 1}, rule{b, a, 1})
}

// OneWay drops every packet from a host to another, and none that goes back,
// for up to ten seconds: what is asked is done, and nobody learns of it.
func (n *Network) OneWay(from, to string) Fault {
	return n.drops(fmt.Sprintf("lose all from %s to %s", from, to), 10*time.Second, rule{from, to, 1})
}

// Loss drops a share of the packets between two hosts, each way, for up to ten
// seconds. A share is above 0 and at most 1.
func (n *Network) Loss(a, b string, share float64) Fault {
	return n.drops(fmt.Sprintf("lose %g%% between %s and %s", share*100, a, b), 10*time.Second, rule{a, b, share}, rule{b, a, share})
}

// rule drops a share of what goes from one host to another, where it arrives.
type rule struct {
	from, to string
	share    float64
}

// drops is the fault of some rules.
func (n *Network) drops(name string, most time.Duration, rules ...rule) Fault {
	return Fault{
		Name: name, Targets: []string{between(rules[0].from, rules[0].to)}, Max: most,
		Inject: func(context.Context, *Scene) (Heal, error) {
			if !n.Breakable() {
				return nil, errors.New("a loopback network cannot be broken: see NewNetwork")
			}
			for i, r := range rules {
				if err := n.apply("-A", r); err != nil {
					return nil, errors.Join(err, n.heal(rules[:i]))
				}
			}
			return func(context.Context) error { return n.heal(rules) }, nil
		},
	}
}

func (n *Network) heal(rules []rule) error {
	var errs []error
	for _, r := range rules {
		errs = append(errs, n.apply("-D", r))
	}
	return errors.Join(errs...)
}

func (n *Network) apply(action string, r rule) error {
	command := fmt.Sprintf("iptables -w %s INPUT -s %s", action, n.Host(r.from).IP)
	if r.share < 1 {
		command += fmt.Sprintf(" -m statistic --mode random --probability %g", r.share)
	}
	return n.Host(r.to).run(command + " -j DROP")
}

// between names the link of two hosts, whichever comes first.
func between(a, b string) string {
	return "link " + min(a, b) + " " + max(a, b)
}
