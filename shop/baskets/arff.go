package baskets

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode"
)

const (
	maxARFFLine   = 1 << 20
	maxAttributes = 10_000
)

// ErrFormat is a file that is not a list of baskets in ARFF.
var ErrFormat = errors.New("not ARFF baskets")

// ReadARFF returns the baskets of an ARFF file, one after the other: an
// attribute of the type {t} is a department, and an instance has t where the
// customer bought and ? where not. Other attributes are passed over. The first
// error is the last element. Memory is bounded by the longest line, 1 MiB.
func ReadARFF(r io.Reader) iter.Seq2[Basket, error] {
	return func(yield func(Basket, error) bool) {
		p := arff{lines: bufio.NewScanner(r)}
		p.lines.Buffer(make([]byte, 0, 64<<10), maxARFFLine)
		if err := p.header(); err != nil {
			yield(nil, err)
			return
		}
		for {
			line, ok := p.next()
			if !ok {
				break
			}
			b, err := p.instance(line)
			if !yield(b, err) || err != nil {
				return
			}
		}
		if err := p.lines.Err(); err != nil {
			yield(nil, fmt.Errorf("line %d: %w", p.line+1, err))
		}
	}
}

// arff reads the lines of one file.
type arff struct {
	lines       *bufio.Scanner
	line        int
	departments []string // by attribute; empty for one that is no department
}

// next returns the next line that says something.
func (p *arff) next() (string, bool) {
	for p.lines.Scan() {
		p.line++
		line := strings.TrimSpace(p.lines.Text())
		if line != "" && line[0] != '%' {
			return line, true
		}
	}
	return "", false
}

func (p *arff) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: line %d: %s", ErrFormat, p.line, fmt.Sprintf(format, args...))
}

// header reads the attributes up to @data.
func (p *arff) header() error {
	for {
		line, ok := p.next()
		if !ok {
			if err := p.lines.Err(); err != nil {
				return fmt.Errorf("line %d: %w", p.line+1, err)
			}
			return p.errorf("it ends before @data")
		}
		word, rest, _ := strings.Cut(line, " ")
		switch strings.ToLower(word) {
		case "@relation":
		case "@attribute":
			if err := p.attribute(strings.TrimSpace(rest)); err != nil {
				return err
			}
		case "@data":
			return nil
		default:
			return p.errorf("%q is no declaration", word)
		}
	}
}

func (p *arff) attribute(decl string) error {
	if len(p.departments) == maxAttributes {
		return p.errorf("more than %d attributes", maxAttributes)
	}
	name, kind, ok := cutName(decl)
	if !ok || name == "" {
		return p.errorf("an attribute without a name")
	}
	if i := strings.IndexByte(kind, '%'); i >= 0 {
		kind = kind[:i]
	}
	kind = strings.TrimSpace(kind)
	inner, isSet := strings.CutPrefix(kind, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !isSet || !closed || strings.TrimSpace(inner) != "t" {
		name = ""
	}
	p.departments = append(p.departments, name)
	return nil
}

// cutName splits a declaration after its name, which may be quoted.
func cutName(decl string) (name, rest string, ok bool) {
	if decl == "" {
		return "", "", false
	}
	if quote := decl[0]; quote == '\'' || quote == '"' {
		end := strings.IndexByte(decl[1:], quote)
		if end < 0 {
			return "", "", false
		}
		return decl[1 : 1+end], decl[end+2:], true
	}
	end := strings.IndexFunc(decl, unicode.IsSpace)
	if end < 0 {
		return "", "", false
	}
	return decl[:end], decl[end:], true
}

// instance reads one basket.
func (p *arff) instance(line string) (Basket, error) {
	var b Basket
	n := 0
	for field := range strings.SplitSeq(line, ",") {
		if n == len(p.departments) {
			return nil, p.errorf("more than %d values", n)
		}
		department := p.departments[n]
		n++
		if department == "" {
			continue
		}
		switch field = strings.TrimSpace(field); field {
		case "t":
			b = append(b, department)
		case "?":
		default:
			return nil, p.errorf("value %d is %q, not t or ?", n, field)
		}
	}
	if n < len(p.departments) {
		return nil, p.errorf("%d values, want %d", n, len(p.departments))
	}
	return b, nil
}
