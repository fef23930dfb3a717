package setting

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Setting is one thing that can be set.
type Setting struct {
	Section string // "" for the program's own
	Name    string // the flag and the file's key, as in "order.max-lines"
	Env     string // the variable, as in "ORDER_MAX_LINES"
	Usage   string
	Default string
	Source  string // "default", "flag", "environment" or "file"

	field   reflect.Value
	secrecy secrecy
	limits  limits
	table   *table   // nil: it is a single value
	holds   *Setting // it names the file that holds this one; nil: it does not
}

// Set is the settings of a program. It is used by one goroutine.
type Set struct {
	program  string
	settings []*Setting
}

// NewSet returns an empty set for the program of that name.
func NewSet(program string) *Set { return &Set{program: program} }

// Add adds the exported fields of the struct that ptr points to. section is
// the prefix of the flags, and prefix that of the variables; a tag env:"NAME"
// names another variable. The tags min and max bound a value. Defaults are
// filled in at once.
//
// The tag secret:"true" says that the value is a secret: it is in no help and
// no error, a flag for it is refused, and there is one more setting, <name>-file
// with the variable <NAME>_FILE, for a file that holds it. With secret:"url" all
// that goes for a URL that has a password; with secret:"env" there is no file.
//
// A field of type map[string]T, T a struct of pointers to what a setting can
// be, is a table: its rows have names, its keys are T's fields. A flag and a
// variable give it as row.key=value, separated by commas, the file as a map of
// maps. Each key of each row is a setting of its own: the flag wins over the
// variable, and that over the file.
func (s *Set) Add(section, prefix string, ptr any) error {
	p := reflect.ValueOf(ptr)
	if p.Kind() != reflect.Pointer || p.IsNil() || p.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("settings must be given as a pointer to a struct, not %T", ptr)
	}
	v := p.Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		name := kebab(f.Name)
		st := &Setting{
			Section: section, Name: name, Usage: f.Tag.Get("usage"), Default: f.Tag.Get("default"),
			secrecy: secrecy(f.Tag.Get("secret")), Env: f.Tag.Get("env"), Source: "default", field: v.Field(i),
		}
		if section != "" {
			st.Name = section + "." + name
		}
		if st.Env == "" {
			st.Env = strings.ToUpper(strings.ReplaceAll(prefix+"-"+name, "-", "_"))
		}
		if err := st.shape(f.Tag); err != nil {
			return fmt.Errorf("setting %s: %w", st.Name, err)
		}
		if err := st.reset(); err != nil {
			return err
		}
		if err := s.add(st); err != nil {
			return err
		}
		if file := st.companion(); file != nil {
			if err := s.add(file); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Set) add(st *Setting) error {
	if slices.ContainsFunc(s.settings, func(o *Setting) bool { return o.Name == st.Name }) {
		return fmt.Errorf("setting %s is declared twice", st.Name)
	}
	s.settings = append(s.settings, st)
	return nil
}

// shape reads what values the field takes.
func (s *Setting) shape(tag reflect.StructTag) (err error) {
	if s.field.Kind() == reflect.Map {
		s.table, err = newTable(s.field)
		return err
	}
	s.limits, err = limitsOf(tag, s.field.Type())
	return err
}

// reset gives the setting its default; an untagged field keeps what it holds.
func (s *Setting) reset() error {
	if s.table != nil {
		return nil
	}
	if s.Default == "" {
		if _, err := parse("", s.field.Type()); errors.Is(err, errKind) {
			return fmt.Errorf("setting %s: %w", s.Name, err)
		}
		s.Default = zeroless(s.field)
		return nil
	}
	return s.set(s.Default, "default")
}

func (s *Setting) set(text, source string) error {
	if s.table != nil {
		return s.table.list(s.origin(source), text, source)
	}
	v, err := parse(text, s.field.Type())
	if err != nil {
		return fmt.Errorf("%s: %s is not %s: %w", s.origin(source), s.shown(text), kindName(s.field.Type()), err)
	}
	if !s.limits.hold(v) {
		return fmt.Errorf("%s: %s is out of range: it must be %s", s.origin(source), s.shown(text), s.limits)
	}
	s.field.Set(v)
	s.Source = source
	return nil
}

// origin names where a value came from, for errors.
func (s *Setting) origin(source string) string {
	switch source {
	case "flag":
		return "flag --" + s.Name
	case "environment":
		return "variable " + s.Env
	case "file":
		return "configuration file, key " + s.Name
	}
	return "default of " + s.Name
}

// Parse fills the settings: from args, then from the environment, then from
// the YAML file that the setting called fileSetting names, then from defaults.
// All that is wrong is reported together. It returns flag.ErrHelp for --help.
func (s *Set) Parse(args []string, env func(string) (string, bool), fileSetting string) error {
	if err := s.parseArgs(args); err != nil {
		return err
	}
	var errs []error
	for _, st := range s.settings {
		if v, ok := env(st.Env); ok && (st.table != nil || st.Source == "default") {
			errs = append(errs, st.set(v, "environment"))
		}
	}
	for _, st := range s.settings {
		if st.Name == fileSetting && st.field.String() != "" {
			errs = append(errs, s.parseFile(st.field.String()))
		}
	}
	return errors.Join(append(errs, s.readSecrets())...)
}

func (s *Set) parseArgs(args []string) error {
	fs := flag.NewFlagSet(s.program, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var errs []error // ours: package flag repeats the value in its own, and it may be a secret
	hidden := false  // what is left over may be the secret that a flag before it was meant to have
	for _, st := range s.settings {
		set := func(text string) error {
			err := st.refuseFlag(text)
			if err == nil {
				err = st.set(text, "flag")
			}
			errs = append(errs, err)
			hidden = hidden || st.secrecy != public
			return nil
		}
		if st.field.Kind() == reflect.Bool {
			fs.BoolFunc(st.Name, st.Usage, set)
		} else {
			fs.Func(st.Name, st.Usage, set)
		}
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return s.explain(err)
	}
	if fs.NArg() > 0 {
		shown := fmt.Sprintf("%q", fs.Arg(0))
		if hidden {
			shown = "after a secret"
		}
		errs = append(errs, fmt.Errorf("unexpected argument %s: settings are given as --name=value; try --help", shown))
	}
	return errors.Join(errs...)
}

// explain adds the nearest name to an unknown flag.
func (s *Set) explain(err error) error {
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return err
	}
	return fmt.Errorf("unknown flag --%s%s; --help lists them all", name, s.nearest(name))
}

func (s *Set) parseFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(b, &tree); err != nil {
		if _, other := errors.AsType[*yaml.TypeError](err); other { // which repeats what is there: a secret, if the file is one
			err = errors.New("it is not a map of keys")
		}
		return fmt.Errorf("configuration file %s: %w", path, err)
	}
	flat := map[string]string{}
	flatten("", tree, flat)
	var errs []error
	for _, st := range s.settings {
		if st.table != nil {
			errs = append(errs, st.parseTable(path, flat))
			continue
		}
		v, ok := flat[st.Name]
		delete(flat, st.Name)
		if ok && st.Source == "default" {
			errs = append(errs, st.set(v, "file"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		errs = append(errs, fmt.Errorf("configuration file %s: unknown key %s%s", path, name, s.nearest(name)))
	}
	return errors.Join(errs...)
}

// parseTable takes the keys of a table out of those of the file.
func (s *Setting) parseTable(path string, flat map[string]string) error {
	if flat[s.Name] == "<nil>" { // its name alone
		delete(flat, s.Name)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		if key, ok := strings.CutPrefix(name, s.Name+"."); ok {
			errs = append(errs, s.table.put(fmt.Sprintf("configuration file %s, key %s", path, name), key, flat[name], "file"))
			delete(flat, name)
		}
	}
	return errors.Join(errs...)
}

// flatten turns nested keys into dotted ones.
func flatten(prefix string, tree map[string]any, into map[string]string) {
	for k, v := range tree {
		if sub, ok := v.(map[string]any); ok {
			flatten(prefix+k+".", sub, into)
			continue
		}
		into[prefix+k] = fmt.Sprint(v)
	}
}

// nearest returns a hint with the setting whose name is closest, or nothing.
func (s *Set) nearest(name string) string {
	names := make([]string, len(s.settings))
	for i, st := range s.settings {
		names[i] = st.Name
	}
	if best := closest(name, names); best != "" {
		return fmt.Sprintf(" (did you mean %s?)", best)
	}
	return ""
}

// closest returns the name that was probably meant, or nothing.
func closest(name string, names []string) string {
	best, at := "", 4
	for _, n := range names {
		if d := distance(name, n); d < at {
			best, at = n, d
		}
	}
	return best
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cur := row[j]
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j]+1, row[j-1]+1, prev+cost)
			prev = cur
		}
	}
	return row[len(b)]
}

// kebab turns MaxLines into max-lines and BankURL into bank-url.
func kebab(name string) string {
	var b strings.Builder
	r := []rune(name)
	for i, c := range r {
		if unicode.IsUpper(c) && i > 0 && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

func zeroless(v reflect.Value) string {
	if v.IsZero() {
		return ""
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String()
	}
	return fmt.Sprint(v.Interface())
}
