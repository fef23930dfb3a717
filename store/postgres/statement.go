package postgres

import (
	"strings"

	"github.com/argosy-go/argosy/store"
)

// forbidden are the first words of statements that would take the transaction
// out of the hands of the engine, change the connection for those who get it
// next, or reach outside the database. Those that Postgres does not know are
// here so that they are refused alike by all stores.
var forbidden = map[string]bool{
	"ABORT": true, "BEGIN": true, "COMMIT": true, "END": true, "ROLLBACK": true, "START": true,
	"SAVEPOINT": true, "RELEASE": true, "PREPARE": true, "EXECUTE": true, "DEALLOCATE": true,
	"SET": true, "RESET": true, "DISCARD": true, "LISTEN": true, "UNLISTEN": true, "LOAD": true,
	"COPY": true, "VACUUM": true,
	"PRAGMA": true, "ATTACH": true, "DETACH": true,
}

// check refuses what a transaction may not run. It reads tokens where Postgres
// does, with standard_conforming_strings on, so that nothing hides in a string,
// a quoted identifier or a comment, or behind one.
func check(query string) error {
	if strings.IndexByte(query, 0) >= 0 {
		return store.ErrForbidden.WithMessage("a statement contains a NUL byte")
	}
	r := reader{query: query}
	for first := true; ; {
		text, ok := r.next()
		if !ok {
			return nil
		}
		if text == ";" {
			first = true
			continue
		}
		if first && forbidden[strings.ToUpper(text)] {
			return store.ErrForbidden.WithMessage("%s is not allowed in a transaction", strings.ToUpper(text))
		}
		first = false
	}
}

// reader walks over the tokens of a query.
type reader struct {
	query string
	at    int // the next byte to read
	// escaped: the last token was a string with escapes, so that a string
	// after it, on another line, is the rest of it.
	escaped bool
}

// next returns the next token that is neither space nor comment.
func (r *reader) next() (string, bool) {
	r.skipSpace()
	if r.at >= len(r.query) {
		return "", false
	}
	start := r.at
	r.token(r.query[start])
	return r.query[start:r.at], true
}

func (r *reader) token(c byte) {
	before := r.escaped
	r.escaped = false
	switch {
	case c == '\'':
		r.escaped = before
		r.quoted('\'', before)
	case c == '"':
		r.quoted('"', false)
	case (c == 'e' || c == 'E') && strings.HasPrefix(r.query[r.at+1:], "'"):
		r.at++
		r.escaped = true
		r.quoted('\'', true)
	case c == '$':
		r.dollar()
	case startsWord(c):
		for r.at++; r.at < len(r.query) && inWord(r.query[r.at]); r.at++ {
			continue
		}
	case isDigit(c): // 1a is two tokens, and 1$a is none: neither hides anything
		for r.at++; r.at < len(r.query) && isDigit(r.query[r.at]); r.at++ {
			continue
		}
	default:
		r.at++
	}
}

// quoted moves past a string or a quoted identifier, in which a doubled quote
// stands for one and, with escapes, a backslash takes the next byte along.
func (r *reader) quoted(quote byte, escapes bool) {
	for r.at++; r.at < len(r.query); r.at++ {
		switch c := r.query[r.at]; {
		case c == '\\' && escapes:
			r.at++
		case c != quote:
		case r.at+1 < len(r.query) && r.query[r.at+1] == quote:
			r.at++
		default:
			r.at++
			return
		}
	}
	r.at = len(r.query)
}

// dollar moves past $tag$ … $tag$, or the dollar of a placeholder.
func (r *reader) dollar() {
	end := r.at + 1
	for end < len(r.query) && (startsWord(r.query[end]) || end > r.at+1 && isDigit(r.query[end])) {
		end++
	}
	if end >= len(r.query) || r.query[end] != '$' {
		r.at++
		return
	}
	tag := r.query[r.at : end+1]
	if i := strings.Index(r.query[end+1:], tag); i >= 0 {
		r.at = end + 1 + i + len(tag)
		return
	}
	r.at = len(r.query)
}

// skipSpace skips white space and comments, which nest in Postgres.
func (r *reader) skipSpace() {
	for r.at < len(r.query) {
		rest := r.query[r.at:]
		switch {
		case strings.IndexByte(" \t\n\v\f\r", rest[0]) >= 0:
			r.at++
		case strings.HasPrefix(rest, "--"):
			if i := strings.IndexAny(rest, "\n\r"); i >= 0 {
				r.at += i
			} else {
				r.at = len(r.query)
			}
		case strings.HasPrefix(rest, "/*"):
			r.comment()
		default:
			return
		}
	}
}

func (r *reader) comment() {
	depth := 0
	for r.at < len(r.query) {
		switch rest := r.query[r.at:]; {
		case strings.HasPrefix(rest, "/*"):
			depth++
			r.at += 2
		case strings.HasPrefix(rest, "*/"):
			depth--
			r.at += 2
		default:
			r.at++
		}
		if depth == 0 {
			return
		}
	}
}

func startsWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func inWord(c byte) bool { return startsWord(c) || isDigit(c) || c == '$' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
