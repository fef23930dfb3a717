// Package httprule reads google.api.http annotations: the rules of a method and
// the path templates in them.
package httprule

import (
	"fmt"
	"strings"
)

// Kind is what a segment of a template matches. A smaller kind is more precise
// and is preferred.
type Kind uint8

// The kinds of segments.
const (
	Literal Kind = iota // one segment, with this text
	One                 // one segment, not empty: * or {name}
	Rest                // all that remains, also nothing: **
)

// Segment is one piece of a path between two slashes.
type Segment struct {
	Kind Kind
	Text string // of a Literal, not escaped
}

// Variable says which segments are bound to a field.
type Variable struct {
	// Field is the path of the field, as in "shelf.name".
	Field string
	// Start and End are the first segment and the one after the last.
	Start, End int
}

// Template is a parsed path template.
type Template struct {
	Segments  []Segment
	Variables []Variable
	// Verb is what follows the colon at the end; empty where there is none.
	Verb string
}

// Multi reports whether v is bound to more than one segment, so that the value
// holds slashes.
func (t Template) Multi(v Variable) bool {
	return v.End-v.Start != 1 || t.Segments[v.Start].Kind == Rest
}

// String returns the template without the names of its variables: two
// templates with the same string match the same paths.
func (t Template) String() string {
	var b strings.Builder
	for _, s := range t.Segments {
		b.WriteByte('/')
		switch s.Kind {
		case One:
			b.WriteByte('*')
		case Rest:
			b.WriteString("**")
		default:
			b.WriteString(s.Text)
		}
	}
	if len(t.Segments) == 0 {
		b.WriteByte('/')
	}
	if t.Verb != "" {
		b.WriteByte(':')
		b.WriteString(t.Verb)
	}
	return b.String()
}

// maxSegments bounds a template; a request path with more segments than this
// matches only templates that end in **.
const maxSegments = 64

// Parse reads a path template of the form that google.api.http documents:
//
//	Template = "/" [ Segments ] [ ":" Verb ]
//	Segments = Segment { "/" Segment }
//	Segment  = "*" | "**" | Literal | "{" Field [ "=" Segments ] "}"
//
// Stricter than that: ** comes last, variables do not nest.
func Parse(template string) (Template, error) {
	p := parser{in: template, seen: map[string]bool{}}
	if err := p.template(); err != nil {
		return Template{}, fmt.Errorf("path template %q: %w", template, err)
	}
	return p.t, nil
}

type parser struct {
	in   string
	pos  int
	t    Template
	seen map[string]bool
}

func (p *parser) template() error {
	if !p.eat('/') {
		return fmt.Errorf("does not begin with a slash")
	}
	if p.pos < len(p.in) && p.in[p.pos] != ':' {
		if err := p.segments(false); err != nil {
			return err
		}
	}
	if p.eat(':') {
		p.t.Verb = p.text()
		if p.t.Verb == "" {
			return fmt.Errorf("nothing after the colon")
		}
	}
	if p.pos != len(p.in) {
		return fmt.Errorf("unexpected %q at byte %d", p.in[p.pos], p.pos)
	}
	for i, s := range p.t.Segments {
		if s.Kind == Rest && i != len(p.t.Segments)-1 {
			return fmt.Errorf("** is not the last segment")
		}
	}
	if len(p.t.Segments) > maxSegments {
		return fmt.Errorf("more than %d segments", maxSegments)
	}
	return nil
}

func (p *parser) segments(inVariable bool) error {
	for {
		if err := p.segment(inVariable); err != nil {
			return err
		}
		if !p.eat('/') {
			return nil
		}
	}
}

func (p *parser) segment(inVariable bool) error {
	switch {
	case p.eat('{'):
		if inVariable {
			return fmt.Errorf("a variable inside a variable")
		}
		return p.variable()
	case p.eat('*'):
		kind := One
		if p.eat('*') {
			kind = Rest
		}
		p.t.Segments = append(p.t.Segments, Segment{Kind: kind})
		return nil
	}
	text := p.text()
	if text == "" {
		return fmt.Errorf("an empty segment at byte %d", p.pos)
	}
	p.t.Segments = append(p.t.Segments, Segment{Text: text})
	return nil
}

func (p *parser) variable() error {
	end := strings.IndexAny(p.in[p.pos:], "=}")
	if end < 0 {
		return fmt.Errorf("a variable without its closing brace")
	}
	v := Variable{Field: p.in[p.pos : p.pos+end], Start: len(p.t.Segments)}
	p.pos += end
	for _, name := range strings.Split(v.Field, ".") {
		if !isIdent(name) {
			return fmt.Errorf("%q is not the path of a field", v.Field)
		}
	}
	if p.seen[v.Field] {
		return fmt.Errorf("%q is bound twice", v.Field)
	}
	p.seen[v.Field] = true
	if p.eat('=') {
		if err := p.segments(true); err != nil {
			return err
		}
	} else {
		p.t.Segments = append(p.t.Segments, Segment{Kind: One})
	}
	if !p.eat('}') {
		return fmt.Errorf("a variable without its closing brace")
	}
	v.End = len(p.t.Segments)
	p.t.Variables = append(p.t.Variables, v)
	return nil
}

func (p *parser) eat(c byte) bool {
	if p.pos < len(p.in) && p.in[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

// text reads the longest run of the characters that may stand in a path
// segment unescaped, the colon and the asterisk excepted.
func (p *parser) text() string {
	start := p.pos
	for p.pos < len(p.in) && isLiteral(p.in[p.pos]) {
		p.pos++
	}
	return p.in[start:p.pos]
}

func isLiteral(c byte) bool {
	return isAlnum(c) || strings.IndexByte("-._~!$&'()+,;=@", c) >= 0
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func isIdent(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' || i == 0 && '0' <= s[i] && s[i] <= '9' {
			return false
		}
	}
	return s != ""
}
