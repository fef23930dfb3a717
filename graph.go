package argosy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/argosy-go/argosy/rpc"
	"github.com/argosy-go/argosy/service"
)

// checkGraph finds what the chosen services need and nobody gives, before
// anything is opened.
func (f *Fleet) checkGraph(context.Context) error {
	peers, err := parsePeers("peers", f.set.Peers)
	if err != nil {
		return &usageError{err}
	}
	var errs []error
	for _, s := range f.services {
		for _, late := range rpc.Declared(s) {
			contract := string(late.Contract().FullName())
			if f.serverOf(contract) != nil {
				continue
			}
			owner := f.owners[contract]
			switch {
			case owner == "":
				errs = append(errs, fmt.Errorf("service %s calls %s, which no service of this program serves", s.Name(), contract))
			case !f.finds(peers, owner):
				errs = append(errs, fmt.Errorf("service %s calls %s of service %s, which does not run in this process: add it to --only, or say where it is with --peers %s=host:port or --discovery", s.Name(), contract, owner, owner))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return &usageError{err}
	}
	return nil
}

// serverOf returns the service of this process that serves the contract.
func (f *Fleet) serverOf(contract string) *service.Setup {
	for _, s := range f.services {
		for _, e := range s.Edges() {
			if e.Kind == service.Serves && e.Name == contract {
				return s
			}
		}
	}
	return nil
}

// owners tells which service serves each contract of the program, whether it
// runs in this process or not.
func owners(every []*service.Setup) map[string]string {
	by := map[string]string{}
	for _, s := range every {
		for _, e := range s.Edges() {
			if e.Kind == service.Serves {
				by[e.Name] = s.Name()
			}
		}
	}
	return by
}

func (f *Fleet) has(k service.Kind) bool {
	for _, s := range f.services {
		for _, e := range s.Edges() {
			if e.Kind == k {
				return true
			}
		}
	}
	return false
}

func (f *Fleet) hasDB() bool {
	for _, s := range f.services {
		if s.HasDB() {
			return true
		}
	}
	return false
}

// parsePeers reads "inventory=10.0.0.2:9090,payment=pay:9090", as the named
// setting has it.
func parsePeers(setting, list string) (map[string]string, error) {
	peers := map[string]string{}
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, addr, ok := strings.Cut(part, "=")
		if !ok || name == "" || addr == "" {
			return nil, fmt.Errorf("--%s %q: each part is service=host:port", setting, part)
		}
		peers[name] = addr
	}
	return peers, nil
}
