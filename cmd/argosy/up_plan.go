package main

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/argosy-go/argosy"
)

// wishes are what somebody asks argosy up for.
type wishes struct {
	only       []string       // services; empty: all
	replicas   map[string]int // by service
	oneProcess bool
	http       string            // address of the HTTP edge
	peers      map[string]string // services that run elsewhere already
	settings   []string          // of the program, passed on
}

// unit is one process of the fleet.
type unit struct {
	Name    string `json:"name"`    // as in "order-1"
	Service string `json:"service"` // "" for the whole fleet in one process
	Replica int    `json:"replica"`
	HTTP    string `json:"http,omitempty"`
	GRPC    string `json:"grpc,omitempty"`
	Admin   string `json:"admin,omitempty"`
	Broker  string `json:"broker,omitempty"`
	Edge    bool   `json:"edge,omitempty"` // its HTTP listener is the fleet's
	tier    int    // drained in this order, the lowest first
	args    []string
}

// address is where a person looks for the unit.
func (u unit) address() string {
	switch {
	case u.Broker != "":
		return u.Broker
	case u.Edge:
		return "http://" + reachable(u.HTTP)
	}
	return u.GRPC
}

// planner makes the processes of a fleet out of what the program says of itself.
type planner struct {
	program argosy.Description
	wishes
	port func() (string, error) // returns an address on a free port
}

// plan returns the processes, the edge first.
func (p planner) plan() ([]unit, error) {
	if p.oneProcess {
		return p.whole()
	}
	services, err := p.chosen()
	if err != nil {
		return nil, err
	}
	if err := p.checkReplicas(services); err != nil {
		return nil, err
	}
	if err := p.checkCalls(services); err != nil {
		return nil, err
	}
	edge := edgeOf(services)
	tiers := tiersOf(services, edge)
	var units []unit
	for _, s := range services {
		for i := range max(1, p.replicas[s.Name]) {
			u := unit{Name: fmt.Sprint(s.Name, "-", i+1), Service: s.Name, Replica: i + 1, Edge: s.Name == edge, tier: tiers[s.Name]}
			if err := p.place(&u); err != nil {
				return nil, err
			}
			units = append(units, u)
		}
	}
	slices.SortStableFunc(units, func(a, b unit) int { return a.tier - b.tier })
	p.arguments(units)
	return units, nil
}

// whole returns the one process that runs everything.
func (p planner) whole() ([]unit, error) {
	if len(p.replicas) > 0 {
		return nil, usagef("--replicas is for processes of one service each, and --one-process makes one of all")
	}
	u := unit{Name: p.program.Program + "-1", Replica: 1, Edge: true}
	if err := p.place(&u); err != nil {
		return nil, err
	}
	u.args = append(slices.Clone(p.settings), u.listeners()...)
	if len(p.only) > 0 {
		if _, err := p.chosen(); err != nil {
			return nil, err
		}
		u.args = append(u.args, "--only="+strings.Join(p.only, ","))
	}
	if len(p.peers) > 0 {
		u.args = append(u.args, "--peers="+joined(p.peers))
	}
	return []unit{u}, nil
}

// chosen returns the services to run, in the program's order.
func (p planner) chosen() ([]argosy.ServiceDescription, error) {
	var names []string
	for _, s := range p.program.Services {
		names = append(names, s.Name)
	}
	for _, list := range [][]string{p.only, slices.Sorted(maps.Keys(p.replicas))} {
		for _, name := range list {
			if !slices.Contains(names, name) {
				return nil, usagef("%s has no service %q; it has: %s%s", p.program.Program, name, strings.Join(names, ", "), meant(name, names))
			}
		}
	}
	var all []argosy.ServiceDescription
	for _, s := range p.program.Services {
		if len(p.only) == 0 || slices.Contains(p.only, s.Name) {
			all = append(all, s)
		} else if p.replicas[s.Name] > 0 {
			return nil, usagef("--replicas names %s, which --only leaves out", s.Name)
		}
	}
	return all, nil
}

// checkReplicas refuses replicas that could not share what they have.
func (p planner) checkReplicas(services []argosy.ServiceDescription) error {
	for _, s := range services {
		if p.replicas[s.Name] < 2 {
			continue
		}
		if s.HasStore && p.program.Store == "sqlite" {
			return usagef("%d replicas of %s need a store that they share, and a file of SQLite is for one process: give --store postgres://…, or one replica", p.replicas[s.Name], s.Name)
		}
	}
	return nil
}

// checkCalls refuses a choice of services that call others which run nowhere.
func (p planner) checkCalls(services []argosy.ServiceDescription) error {
	owner := ownersOf(p.program.Services)
	var wrong []string
	for _, s := range services {
		for _, contract := range s.Calls {
			o := owner[contract]
			runs := slices.ContainsFunc(services, func(d argosy.ServiceDescription) bool { return d.Name == o })
			if o != "" && !runs && p.peers[o] == "" {
				wrong = append(wrong, fmt.Sprintf("%s calls %s, which does not run: add it to --only, or say where it is with --peers %s=host:port", s.Name, o, o))
			}
		}
	}
	if len(wrong) > 0 {
		return usagef("%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// place gives a unit its addresses.
func (p planner) place(u *unit) error {
	into := []*string{&u.GRPC, &u.Admin}
	if u.Edge && u.Replica == 1 { // its replicas are for a load balancer to find
		u.HTTP = p.http
	} else {
		into = append(into, &u.HTTP)
	}
	for _, a := range into {
		var err error
		if *a, err = p.port(); err != nil {
			return err
		}
	}
	return nil
}

// arguments tells every process of all others.
func (p planner) arguments(units []unit) {
	grpc, http := maps.Clone(p.peers), map[string]string{}
	if grpc == nil {
		grpc = map[string]string{}
	}
	origin := ""
	for _, u := range units {
		add(grpc, u.Service, u.GRPC)
		add(http, u.Service, u.HTTP)
		if u.Edge && u.Replica == 1 {
			origin = "http://" + reachable(u.HTTP)
		}
	}
	for i := range units {
		u := &units[i]
		u.args = slices.Clone(p.settings)
		if origin != "" && !given(p.settings, "origin") {
			u.args = append(u.args, "--origin="+origin)
		}
		u.args = append(u.args, u.listeners()...)
		u.args = append(u.args, "--only="+u.Service, "--peers="+joined(grpc))
		if u.Edge {
			u.args = append(u.args, "--edge", "--http-peers="+joined(http))
		}
	}
}

func (u unit) listeners() []string {
	return []string{"--http=" + u.HTTP, "--grpc=" + u.GRPC, "--admin=" + u.Admin, "--banner=false"}
}

// add adds an address of a service; several are separated by bars.
func add(to map[string]string, service, address string) {
	if before := to[service]; before != "" {
		address = before + "|" + address
	}
	to[service] = address
}

// joined writes addresses as the settings take them.
func joined(addresses map[string]string) string {
	var parts []string
	for _, service := range slices.Sorted(maps.Keys(addresses)) {
		parts = append(parts, service+"="+addresses[service])
	}
	return strings.Join(parts, ",")
}

// given reports whether the settings name one.
func given(settings []string, name string) bool {
	return slices.ContainsFunc(settings, func(s string) bool {
		flag, _, _ := strings.Cut(strings.TrimLeft(s, "-"), "=")
		return strings.HasPrefix(s, "-") && flag == name
	})
}

// reachable returns an address that this machine can connect to: a listener on
// all interfaces is reached on the loopback one.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// ownersOf tells which service serves each contract.
func ownersOf(services []argosy.ServiceDescription) map[string]string {
	owner := map[string]string{}
	for _, s := range services {
		for _, contract := range s.Serves {
			owner[contract] = s.Name
		}
	}
	return owner
}

// edgeOf returns the service whose process is the HTTP edge: the one that is
// only that, with pages and no contract, else the first that serves anything.
func edgeOf(services []argosy.ServiceDescription) string {
	first := ""
	for _, s := range services {
		if len(s.Handles) > 0 && len(s.Serves) == 0 {
			return s.Name
		}
		if first == "" && len(s.Handles)+len(s.Serves) > 0 {
			first = s.Name
		}
	}
	return first
}

// tiersOf returns the order in which services are drained: the edge, then
// callers before those they call, so that nobody's calls under way find nobody,
// and last what nobody calls and which calls nobody, as programs from outside.
func tiersOf(services []argosy.ServiceDescription, edge string) map[string]int {
	owner, tier := ownersOf(services), map[string]int{}
	for _, s := range services {
		tier[s.Name] = 1
	}
	deepest := 1
	for range services { // the longest path has as many steps, unless calls go round
		for _, s := range services {
			for _, contract := range s.Calls {
				if o := owner[contract]; o != "" && o != s.Name {
					tier[o] = min(max(tier[o], tier[s.Name]+1), len(services))
					deepest = max(deepest, tier[o])
				}
			}
		}
	}
	for _, s := range services {
		if len(s.Serves)+len(s.Calls)+len(s.Consumes)+len(s.Publishes)+len(s.Handles) == 0 {
			tier[s.Name] = deepest + 1
		}
	}
	if edge != "" {
		tier[edge] = 0
	}
	return tier
}

// parseReplicas reads "order=3,payment=2".
func parseReplicas(list string) (map[string]int, error) {
	replicas := map[string]int{}
	for _, part := range split(list) {
		name, count, ok := strings.Cut(part, "=")
		n, err := strconv.Atoi(count)
		if !ok || name == "" || err != nil || n < 1 || n > 100 {
			return nil, usagef("--replicas %q: each part is service=number, from 1 to 100", part)
		}
		if _, twice := replicas[name]; twice {
			return nil, usagef("--replicas names %s twice", name)
		}
		replicas[name] = n
	}
	return replicas, nil
}

// parsePeers reads "payment=10.0.0.2:9090".
func parsePeers(list string) (map[string]string, error) {
	peers := map[string]string{}
	for _, part := range split(list) {
		name, address, ok := strings.Cut(part, "=")
		if !ok || name == "" || address == "" {
			return nil, usagef("--peers %q: each part is service=host:port", part)
		}
		peers[name] = address
	}
	return peers, nil
}

// split returns the parts of a list with commas.
func split(list string) []string {
	var parts []string
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
