package setting

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"strings"
)

// maxSecret bounds a file that holds a secret, in bytes.
const maxSecret = 64 << 10

// secrecy is how much of a setting is secret, as its tag says.
type secrecy string

const (
	public secrecy = ""
	secret secrecy = "true" // the value
	inURL  secrecy = "url"  // the password in it, if there is one
	onlyIn secrecy = "env"  // the value, and the program reads files of its own
)

// companion returns the setting <name>-file, whose file holds the value of a
// secret one; nil, if there is none.
func (s *Setting) companion() *Setting {
	if s.secrecy != secret && s.secrecy != inURL {
		return nil
	}
	usage := "file that holds it"
	if s.secrecy == inURL {
		usage = "file that holds it, if it has a password"
	}
	return &Setting{
		Section: s.Section, Name: s.Name + "-file", Env: s.Env + "_FILE", Usage: usage, Source: "default",
		field: reflect.New(reflect.TypeFor[string]()).Elem(), holds: s,
	}
}

// shown returns what an error may show of a value.
func (s *Setting) shown(text string) string {
	if s.secrecy != public {
		return "the given value"
	}
	return fmt.Sprintf("%q", text)
}

// refuseFlag refuses a secret on the command line, which every user of the
// machine can see.
func (s *Setting) refuseFlag(text string) error {
	switch {
	case s.secrecy == public, s.secrecy == inURL && !HasPassword(text):
		return nil
	case s.secrecy == onlyIn:
		return fmt.Errorf("flag --%s: every user of this machine sees command lines: set the variable %s", s.Name, s.Env)
	}
	return fmt.Errorf("flag --%s: every user of this machine sees command lines, and this is a secret: put it into a file and name that by --%s-file, or set the variable %s", s.Name, s.Name, s.Env)
}

// HasPassword reports whether a URL holds a password, or may: one that nobody
// can read, or a name alone where that may be a token, as with NATS.
func HasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@")
	}
	if _, has := u.User.Password(); has || u.User != nil && !strings.HasPrefix(u.Scheme, "postgres") {
		return true
	}
	for name := range u.Query() {
		if strings.Contains(strings.ToLower(name), "password") {
			return true
		}
	}
	return false
}

// places tells which place wins over which.
var places = map[string]int{"default": 0, "file": 1, "environment": 2, "flag": 3}

// readSecrets reads the files that hold secrets, where they win.
func (s *Set) readSecrets() error {
	var errs []error
	for _, st := range s.settings {
		if st.holds == nil || st.field.String() == "" {
			continue
		}
		switch mine, its := places[st.Source], places[st.holds.Source]; {
		case mine == its:
			errs = append(errs, fmt.Errorf("%s, and %s: give one of them", st.origin(st.Source), st.holds.origin(st.Source)))
		case mine > its:
			errs = append(errs, st.holds.readSecret(st))
		}
	}
	return errors.Join(errs...)
}

// readSecret sets a secret to what is in the file that another setting names,
// without the end of the line.
func (s *Setting) readSecret(from *Setting) error {
	where := from.origin(from.Source)
	f, err := os.Open(from.field.String())
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" || len(text) > maxSecret {
		return fmt.Errorf("%s: the file must hold something, and at most %d bytes", where, maxSecret)
	}
	if err := s.set(value, from.Source); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}
