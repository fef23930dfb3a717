package rest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/argosy-go/argosy/rest/internal/httprule"
)

// router finds the route of a request. Each HTTP method has a trie of its own,
// so that a path that exists with another method never hides a wider one with
// the right method.
type router struct {
	tries   map[string]*node
	methods []string // the keys of tries, sorted
	verbs   map[string]bool
}

// node is a place in a trie. Where several children match, the literal one is
// tried first, then the one segment, then all that remains.
type node struct {
	literals map[string]*node
	one      *node
	ends     map[string]*route // by verb, when the path ends here
	rest     map[string]*route // by verb, when ** begins here
}

// add places a route. Two routes of the same method that match the same paths
// are an error that names both.
func (r *router) add(rt *route) error {
	if r.tries == nil {
		r.tries, r.verbs = map[string]*node{}, map[string]bool{}
	}
	n := r.tries[rt.rule.Verb]
	if n == nil {
		n = &node{}
		r.tries[rt.rule.Verb] = n
		r.methods = append(r.methods, rt.rule.Verb)
		slices.Sort(r.methods)
	}
	t := rt.rule.Template
	if t.Verb != "" {
		r.verbs[t.Verb] = true
	}
	for _, s := range t.Segments {
		switch s.Kind {
		case httprule.Rest:
			return place(&n.rest, rt)
		case httprule.One:
			if n.one == nil {
				n.one = &node{}
			}
			n = n.one
		default:
			if n.literals == nil {
				n.literals = map[string]*node{}
			}
			if n.literals[s.Text] == nil {
				n.literals[s.Text] = &node{}
			}
			n = n.literals[s.Text]
		}
	}
	return place(&n.ends, rt)
}

func place(at *map[string]*route, rt *route) error {
	if *at == nil {
		*at = map[string]*route{}
	}
	verb := rt.rule.Template.Verb
	if other := (*at)[verb]; other != nil {
		return fmt.Errorf("%s %s of %s matches the same requests as %s of %s",
			rt.rule.Verb, rt.rule.Path, rt.method.FullName(), other.rule.Path, other.method.FullName())
	}
	(*at)[verb] = rt
	return nil
}

// path is a request path, cut at its slashes.
type path struct {
	raw  []string // as sent
	text []string // unescaped; nil: the same as raw
	verb string   // after the last colon of the last segment, when some route has it
}

// split cuts an escaped path. A path that is not a sequence of validly escaped
// segments is not ok.
func (p *path) split(escaped string) bool {
	if escaped == "" || escaped[0] != '/' {
		return false
	}
	p.raw = p.raw[:0]
	rest := escaped[1:]
	for rest != "" {
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			p.raw = append(p.raw, rest)
			break
		}
		p.raw = append(p.raw, rest[:i])
		if rest = rest[i+1:]; rest == "" {
			p.raw = append(p.raw, "")
		}
	}
	p.text = p.raw
	if strings.IndexByte(escaped, '%') < 0 {
		return true
	}
	p.text = make([]string, len(p.raw))
	for i, s := range p.raw {
		u, err := url.PathUnescape(s)
		if err != nil {
			return false
		}
		p.text[i] = u
	}
	return true
}

// cutVerb takes the custom verb off the last segment. The colon counts only
// when it was sent as one, so that an id that holds %3A stays whole.
func (p *path) cutVerb(known map[string]bool) bool {
	if len(p.raw) == 0 {
		return false
	}
	last := len(p.raw) - 1
	i := strings.LastIndexByte(p.raw[last], ':')
	if i < 0 || !known[p.raw[last][i+1:]] {
		return false
	}
	p.verb = p.raw[last][i+1:]
	shared := &p.text[0] == &p.raw[0]
	p.raw[last] = p.raw[last][:i]
	if !shared {
		p.text[last] = p.text[last][:len(p.text[last])-len(p.verb)-1]
	}
	return true
}

// restoreVerb undoes cutVerb.
func (p *path) restoreVerb() {
	last := len(p.raw) - 1
	shared := &p.text[0] == &p.raw[0]
	p.raw[last] += ":" + p.verb
	if !shared {
		p.text[last] += ":" + p.verb
	}
	p.verb = ""
}

// find returns the route of a method for p, or nil. With a custom verb at the
// end of the path the routes of that verb are preferred; afterwards p is cut
// the way that the route it returns binds it.
func (r *router) find(method string, p *path) *route {
	root := r.tries[method]
	if root == nil {
		return nil
	}
	if p.cutVerb(r.verbs) {
		if rt := root.find(p, 0); rt != nil {
			return rt
		}
		p.restoreVerb()
	}
	return root.find(p, 0)
}

func (n *node) find(p *path, at int) *route {
	if at == len(p.text) {
		if rt := n.ends[p.verb]; rt != nil {
			return rt
		}
		return n.rest[p.verb]
	}
	if next := n.literals[p.text[at]]; next != nil {
		if rt := next.find(p, at+1); rt != nil {
			return rt
		}
	}
	if n.one != nil && p.text[at] != "" {
		if rt := n.one.find(p, at+1); rt != nil {
			return rt
		}
	}
	return n.rest[p.verb]
}

// allowed returns the methods that p exists with, HEAD and OPTIONS included.
func (r *router) allowed(escaped string) []string {
	var found []string
	for _, m := range r.methods {
		var p path
		if p.split(escaped) && r.find(m, &p) != nil {
			found = append(found, m)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if slices.Contains(found, "GET") && !slices.Contains(found, "HEAD") {
		found = append(found, "HEAD")
	}
	if !slices.Contains(found, "OPTIONS") {
		found = append(found, "OPTIONS")
	}
	slices.Sort(found)
	return found
}

// value returns what p binds to variable v of template t. The segments of a
// value that spans several are unescaped but for %2F, so that its slashes are
// those of the path.
func (p *path) value(t httprule.Template, v httprule.Variable) string {
	if !t.Multi(v) {
		return p.text[v.Start]
	}
	end := v.End
	if t.Segments[v.End-1].Kind == httprule.Rest {
		end = len(p.raw)
	}
	if end <= v.Start {
		return ""
	}
	if &p.text[0] == &p.raw[0] {
		return strings.Join(p.raw[v.Start:end], "/")
	}
	parts := make([]string, 0, end-v.Start)
	for i := v.Start; i < end; i++ {
		s := p.text[i]
		if strings.Contains(s, "/") {
			s = keepSlashes(p.raw[i])
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "/")
}

// keepSlashes unescapes a segment, but for its slashes.
func keepSlashes(raw string) string {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' || strings.EqualFold(raw[i:i+3], "%2f") {
			b.WriteByte(raw[i])
			continue
		}
		u, err := url.PathUnescape(raw[i : i+3])
		if err != nil { // split has seen that every escape is valid
			return raw
		}
		b.WriteString(u)
		i += 2
	}
	return b.String()
}
