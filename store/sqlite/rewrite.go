package sqlite

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/argosy-go/argosy/store"
)

// rewritten is a query as SQLite gets it.
type rewritten struct {
	text   string // with ?N for $N
	params int    // the highest N
	single bool   // at most one statement
}

// rewrite turns $N into ?N, which SQLite numbers as written ($N is a name to
// it, numbered by first appearance), and refuses what a transaction may not
// run. It reads tokens exactly where SQLite does, so that nothing hides in a
// string, a quoted identifier or a comment, or behind one.
func rewrite(query string) (rewritten, error) {
	if strings.IndexByte(query, 0) >= 0 {
		return rewritten{}, store.ErrForbidden.WithMessage("a statement contains a NUL byte")
	}
	r := rewriter{query: query}
	for {
		t, ok := r.next()
		if !ok {
			break
		}
		if err := r.take(t); err != nil {
			return rewritten{}, err
		}
	}
	r.out.WriteString(query[r.copied:])
	return rewritten{text: r.out.String(), params: r.params, single: r.statements <= 1}, nil
}

// rewriter walks over the tokens of a query.
type rewriter struct {
	query  string
	at     int // the next byte to read
	out    strings.Builder
	copied int // how much of query is in out

	params     int
	statements int
	words      int    // words and other tokens of the current statement so far
	previous   string // the previous token of the statement, upper case where it is a word
	create     bool   // the statement starts with CREATE [TEMP|TEMPORARY]
	trigger    trigger
}

// trigger says where in CREATE TRIGGER the reading is: the semicolons of a
// trigger's body do not end the statement, only "; END ;" does.
type trigger int

const (
	noTrigger trigger = iota
	inTrigger
	afterSemicolon
	afterEnd
)

type token struct {
	kind       tokenKind
	start, end int
}

type tokenKind int

const (
	word tokenKind = iota
	semicolon
	parameter // $N
	foreign   // a placeholder of another style
	other     // a literal, a quoted identifier, an operator
)

// forbidden are the statements that would take the transaction out of the
// hands of the engine, or reach outside its database.
var forbidden = map[string]bool{
	"BEGIN": true, "COMMIT": true, "END": true, "ROLLBACK": true, "SAVEPOINT": true, "RELEASE": true,
	"PRAGMA": true, "ATTACH": true, "DETACH": true, "VACUUM": true,
}

func (r *rewriter) take(t token) error {
	text := r.query[t.start:t.end]
	switch t.kind {
	case semicolon:
		r.endOfStatement()
		return nil
	case foreign:
		return store.ErrForbidden.WithMessage("the placeholder %q: placeholders are written $1, $2 and so on", text)
	case parameter:
		if err := r.number(t); err != nil {
			return err
		}
	case word:
		text = strings.ToUpper(text)
		if r.words == 0 && forbidden[text] {
			return store.ErrForbidden.WithMessage("%s is not allowed in a transaction", text)
		}
		if text == "ROLLBACK" && r.previous == "OR" {
			return store.ErrForbidden.WithMessage("OR ROLLBACK is not allowed in a transaction: use OR ABORT")
		}
	}
	r.follow(t.kind, text)
	return nil
}

// follow keeps track of where in a statement the reading is.
func (r *rewriter) follow(kind tokenKind, text string) {
	if r.words == 0 {
		r.statements++
	}
	r.words++
	isWord := kind == word
	switch {
	case r.words == 1:
		r.create = isWord && text == "CREATE"
	case r.create && isWord && text == "TRIGGER":
		r.create, r.trigger = false, inTrigger
	case r.create && (!isWord || text != "TEMP" && text != "TEMPORARY"):
		r.create = false
	case r.trigger == afterSemicolon && isWord && text == "END":
		r.trigger = afterEnd
	case r.trigger != noTrigger:
		r.trigger = inTrigger
	}
	r.previous = ""
	if isWord {
		r.previous = text
	}
}

func (r *rewriter) endOfStatement() {
	if r.trigger == inTrigger || r.trigger == afterSemicolon {
		r.trigger = afterSemicolon
		return
	}
	r.words, r.previous, r.create, r.trigger = 0, "", false, noTrigger
}

// maxParams is SQLite's limit on the number of a parameter.
const maxParams = 32766

func (r *rewriter) number(t token) error {
	digits := r.query[t.start+1 : t.end]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || n > maxParams || digits[0] == '0' {
		return store.ErrForbidden.WithMessage("the placeholder $%s: numbers go from 1 to %d", digits, maxParams)
	}
	r.params = max(r.params, n)
	r.out.WriteString(r.query[r.copied:t.start])
	r.out.WriteByte('?')
	r.copied = t.start + 1
	return nil
}

// next returns the next token that is neither space nor comment.
func (r *rewriter) next() (token, bool) {
	r.skipSpace()
	if r.at >= len(r.query) {
		return token{}, false
	}
	start := r.at
	kind := r.scan(r.query[start])
	return token{kind, start, r.at}, true
}

// scan reads the token that starts with c and returns its kind.
func (r *rewriter) scan(c byte) tokenKind {
	switch {
	case c == ';':
		r.at++
		return semicolon
	case c == '\'' || c == '"' || c == '`':
		r.quoted(c)
		return other
	case c == '[':
		r.until("]")
		return other
	case c == '$' || c == '?' || c == '@' || c == '#':
		r.at++
		digits := r.at
		r.word()
		if c == '$' && r.at > digits && allDigits(r.query[digits:r.at]) {
			return parameter
		}
		return foreign
	case strings.HasPrefix(r.query[r.at:], "::") && !strings.HasPrefix(r.query[r.at:], ":::"):
		r.at += 2 // a cast of Postgres: SQLite will say what it thinks of it
		return other
	case c == ':':
		r.at++
		r.word()
		return foreign
	case c >= '0' && c <= '9':
		r.word()
		return other
	case isIDByte(c):
		r.word()
		return word
	default:
		r.at++
		return other
	}
}

// skipSpace skips what separates tokens: white space, comments, and a byte
// order mark, which SQLite takes for a space.
func (r *rewriter) skipSpace() {
	for r.at < len(r.query) {
		rest := r.query[r.at:]
		switch {
		case strings.IndexByte(" \t\n\v\f\r", rest[0]) >= 0:
			r.at++
		case strings.HasPrefix(rest, "\uFEFF"):
			r.at += len("\uFEFF")
		case strings.HasPrefix(rest, "--"):
			r.until("\n")
		case strings.HasPrefix(rest, "/*") && len(rest) > 2: // a bare "/*" at the end is an operator
			r.at += 2
			r.until("*/")
		default:
			return
		}
	}
}

// until moves past the next occurrence of end, or to the end of the query.
func (r *rewriter) until(end string) {
	if i := strings.Index(r.query[r.at:], end); i >= 0 {
		r.at += i + len(end)
		return
	}
	r.at = len(r.query)
}

// quoted moves past a quoted token in which a doubled quote stands for one.
func (r *rewriter) quoted(quote byte) {
	for r.at++; r.at < len(r.query); r.at++ {
		if r.query[r.at] != quote {
			continue
		}
		r.at++
		if r.at == len(r.query) || r.query[r.at] != quote {
			return
		}
	}
}

func (r *rewriter) word() {
	for r.at < len(r.query) && (isIDByte(r.query[r.at]) || r.query[r.at] == '$') {
		r.at++
	}
}

// isIDByte reports whether SQLite takes b for a part of an identifier, apart
// from '$', which may not begin one.
func isIDByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b >= 0x80
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// checkArgs compares the arguments of a statement with its placeholders.
func (q rewritten) checkArgs(n int) error {
	if n != q.params {
		return fmt.Errorf("the statement has placeholders up to $%d and got %d arguments", q.params, n)
	}
	return nil
}
