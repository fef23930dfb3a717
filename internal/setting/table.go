package setting

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// table is a setting with rows that have names: see [Set.Add].
type table struct {
	field reflect.Value // a map[string]T
	keys  []key
	rows  map[string]*row
}

// key is a field of T, or of a struct within it.
type key struct {
	name   string // as in "breaker.window"
	usage  string
	index  []int
	kind   reflect.Type // of the value
	limits limits
}

// row is a T that is being filled in.
type row struct {
	value   reflect.Value     // addressable
	sources map[string]string // of its keys
}

// rank orders the sources: whoever has a higher one wins.
var rank = map[string]int{"file": 1, "environment": 2, "flag": 3}

func newTable(field reflect.Value) (*table, error) {
	t := field.Type()
	if t.Key().Kind() != reflect.String || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("a table is a map[string]T of a struct T, not %s", t)
	}
	table := &table{field: field, rows: map[string]*row{}}
	return table, table.collect("", nil, t.Elem())
}

// collect adds the keys of a struct, those of structs within it after a dot.
func (t *table) collect(prefix string, index []int, of reflect.Type) error {
	for i := range of.NumField() {
		f := of.Field(i)
		name, at := prefix+kebab(f.Name), append(slices.Clone(index), i)
		if f.Type.Kind() == reflect.Struct {
			if err := t.collect(name+".", at, f.Type); err != nil {
				return err
			}
			continue
		}
		if !f.IsExported() || f.Type.Kind() != reflect.Pointer {
			return fmt.Errorf("key %s: it must be exported and a pointer, which is nil where nothing is set", name)
		}
		k := key{name: name, usage: f.Tag.Get("usage"), index: at, kind: f.Type.Elem()}
		if _, err := parse("", k.kind); err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		var err error
		if k.limits, err = limitsOf(f.Tag, k.kind); err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		t.keys = append(t.keys, k)
	}
	return nil
}

// list takes what a flag or a variable says: row.key=value, separated by commas.
func (t *table) list(origin, text, source string) error {
	var errs []error
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %q is not name.%s=value", origin, part, t.keys[0].name))
			continue
		}
		name = strings.TrimSpace(name)
		errs = append(errs, t.put(origin+", key "+name, name, strings.TrimSpace(value), source))
	}
	return errors.Join(errs...)
}

// put sets one key of one row, given as row.key, unless a source that wins has.
func (t *table) put(origin, name, text, source string) error {
	rowName, k, ok := t.split(name)
	if !ok {
		return fmt.Errorf("%s: unknown key%s", origin, t.hint(name))
	}
	v, err := parse(text, k.kind)
	if err != nil || text == "" {
		if err == nil {
			err = errors.New("it is empty")
		}
		return fmt.Errorf("%s: %q is not %s: %w", origin, text, kindName(k.kind), err)
	}
	if !k.limits.hold(v) {
		return fmt.Errorf("%s: %q is out of range: it must be %s", origin, text, k.limits)
	}
	r := t.rows[rowName]
	if r == nil {
		r = &row{value: reflect.New(t.field.Type().Elem()).Elem(), sources: map[string]string{}}
		t.rows[rowName] = r
	}
	if rank[r.sources[k.name]] > rank[source] {
		return nil
	}
	r.sources[k.name] = source
	at := reflect.New(k.kind)
	at.Elem().Set(v)
	r.value.FieldByIndex(k.index).Set(at)
	if t.field.IsNil() {
		t.field.Set(reflect.MakeMap(t.field.Type()))
	}
	t.field.SetMapIndex(reflect.ValueOf(rowName), r.value)
	return nil
}

// split finds the key at the end of row.key: names of rows may have dots too.
func (t *table) split(name string) (string, key, bool) {
	var found key
	for _, k := range t.keys {
		if strings.HasSuffix(name, "."+k.name) && len(k.name) > len(found.name) {
			found = k
		}
	}
	rowName := strings.TrimSuffix(name, "."+found.name)
	return rowName, found, found.name != "" && rowName != ""
}

// hint says what a key that does not exist may have been, or which ones do.
func (t *table) hint(name string) string {
	names := make([]string, len(t.keys))
	for i, k := range t.keys {
		names[i] = k.name
	}
	for at := strings.IndexByte(name, '.'); at >= 0; {
		if best := closest(name[at+1:], names); best != "" {
			return fmt.Sprintf(" (did you mean %s%s?)", name[:at+1], best)
		}
		next := strings.IndexByte(name[at+1:], '.')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return ": a row has the keys " + strings.Join(names, ", ")
}
