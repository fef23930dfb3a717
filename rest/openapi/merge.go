package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// parts is a document taken apart as far as merging needs.
type parts struct {
	OpenAPI    string                                `json:"openapi"`
	Info       info                                  `json:"info"`
	Servers    json.RawMessage                       `json:"servers"`
	Security   json.RawMessage                       `json:"security"`
	Tags       []tag                                 `json:"tags"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components map[string]map[string]json.RawMessage `json:"components"`
}

// Merge joins documents that [Generate] made into one. Components that several
// have must be the same in all, and a path with a method may be in one only;
// errors name both. Title, version and description are those of the documents
// where they agree, and are put together where not.
func Merge(docs ...[]byte) ([]byte, error) {
	if len(docs) == 0 {
		return nil, errors.New("openapi: no documents to merge")
	}
	all := parts{Paths: map[string]map[string]json.RawMessage{}, Components: map[string]map[string]json.RawMessage{}}
	m := merger{all: &all, shapes: map[string]string{}, operations: map[string]string{}}
	for i, doc := range docs {
		var p parts
		if err := json.Unmarshal(doc, &p); err != nil {
			return nil, fmt.Errorf("openapi: document %d: %w", i+1, err)
		}
		if i == 0 {
			all.OpenAPI, all.Info, all.Servers, all.Security = p.OpenAPI, p.Info, p.Servers, p.Security
		}
		if p.OpenAPI != all.OpenAPI {
			return nil, fmt.Errorf("openapi: documents of versions %q and %q", all.OpenAPI, p.OpenAPI)
		}
		if err := m.add(p, i > 0); err != nil {
			return nil, fmt.Errorf("openapi: %w", err)
		}
	}
	return write(all)
}

type merger struct {
	all        *parts
	shapes     map[string]string // shape of a path: the path
	operations map[string]string // id of an operation: where it is
}

var inBraces = regexp.MustCompile(`\{[^}]*\}`)

func (m *merger) add(p parts, more bool) error {
	if more {
		m.addInfo(p.Info)
	}
	for _, t := range p.Tags {
		if !slices.Contains(m.all.Tags, t) {
			m.all.Tags = append(m.all.Tags, t)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(p.Paths)) {
		if err := m.addPath(path, p.Paths[path]); err != nil {
			return err
		}
	}
	for kind, named := range p.Components {
		if m.all.Components[kind] == nil {
			m.all.Components[kind] = map[string]json.RawMessage{}
		}
		for name, c := range named {
			other, ok := m.all.Components[kind][name]
			if ok && !bytes.Equal(other, c) {
				return fmt.Errorf("two different components are called %s %s", kind, name)
			}
			m.all.Components[kind][name] = c
		}
	}
	return nil
}

func (m *merger) addPath(path string, item map[string]json.RawMessage) error {
	shape := inBraces.ReplaceAllString(path, "{}")
	if other, ok := m.shapes[shape]; ok && other != path {
		return fmt.Errorf("%s and %s are the same path: give the parameters the same names", other, path)
	}
	m.shapes[shape] = path
	if m.all.Paths[path] == nil {
		m.all.Paths[path] = map[string]json.RawMessage{}
	}
	for _, verb := range slices.Sorted(maps.Keys(item)) {
		where := strings.ToUpper(verb) + " " + path
		if m.all.Paths[path][verb] != nil {
			return fmt.Errorf("%s is in two documents", where)
		}
		var op struct {
			ID string `json:"operationId"`
		}
		if err := json.Unmarshal(item[verb], &op); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if other, ok := m.operations[op.ID]; ok && op.ID != "" {
			return fmt.Errorf("%s and %s are both called %s", other, where, op.ID)
		}
		m.operations[op.ID] = where
		m.all.Paths[path][verb] = item[verb]
	}
	return nil
}

func (m *merger) addInfo(in info) {
	all := &m.all.Info
	if !listed(all.Title, in.Title, ", ") {
		all.Title += ", " + in.Title
	}
	if !listed(all.Version, in.Version, ", ") {
		all.Version += ", " + in.Version
	}
	if !listed(all.Description, in.Description, "\n\n") {
		all.Description = join(all.Description, in.Description)
	}
}

func listed(all, one, separator string) bool {
	return one == "" || slices.Contains(strings.Split(all, separator), one)
}
