package argosy

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/argosy-go/argosy/internal/version"
	"github.com/argosy-go/argosy/service"
)

// Description is what a program says of itself for --describe, without opening
// anything. Tools decide by it how to run the program.
type Description struct {
	Program string `json:"program"`
	Version string `json:"version"`
	// Data is the data directory that the settings choose.
	Data string `json:"data"`
	// Store and Broker are the schemes of the chosen engines, as in "sqlite":
	// the rest of their URLs may hold a password.
	Store  string `json:"store"`
	Broker string `json:"broker"`
	// TLS tells what the settings say of calls between processes: "files" when
	// they give certificates, "insecure" when they want none, else "".
	TLS      string               `json:"tls,omitempty"`
	Services []ServiceDescription `json:"services"`
}

// ServiceDescription is one service of a [Description], and its part of the graph.
type ServiceDescription struct {
	Name string `json:"name"`
	// Serves and Calls are the full names of contracts.
	Serves []string `json:"serves,omitempty"`
	Calls  []string `json:"calls,omitempty"`
	// Publishes and Consumes are topics.
	Publishes []string `json:"publishes,omitempty"`
	Consumes  []string `json:"consumes,omitempty"`
	Sagas     []string `json:"sagas,omitempty"`
	// Handles are the patterns of what is mounted on the HTTP edge.
	Handles []string `json:"handles,omitempty"`
	// HasStore and NeedsBroker tell what must be there before it starts.
	HasStore    bool `json:"hasStore,omitempty"`
	NeedsBroker bool `json:"needsBroker,omitempty"`
}

// errDescribed: the description was asked for, and is printed.
var errDescribed = errors.New("described")

// describe prints what the services declared.
func (p *Program) describe(every []*service.Setup, set settings) error {
	d := Description{Program: p.Name, Version: version.String(), Data: set.Data, Store: scheme(set.Store), Broker: scheme(set.Broker), TLS: set.tls()}
	for _, s := range every {
		d.Services = append(d.Services, describeService(s))
	}
	enc := json.NewEncoder(p.stdout())
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return err
	}
	return errDescribed
}

func describeService(s *service.Setup) ServiceDescription {
	d := ServiceDescription{Name: s.Name(), HasStore: s.HasDB()}
	into := map[service.Kind]*[]string{
		service.Serves: &d.Serves, service.Calls: &d.Calls, service.Publishes: &d.Publishes,
		service.Consumes: &d.Consumes, service.RunsSaga: &d.Sagas,
	}
	for _, e := range s.Edges() {
		if list := into[e.Kind]; list != nil {
			*list = append(*list, e.Name)
		}
		d.NeedsBroker = d.NeedsBroker || e.Kind == service.NeedsBroker
	}
	for _, h := range s.Handlers() {
		d.Handles = append(d.Handles, h.Pattern)
	}
	return d
}

// scheme returns the scheme of an engine's URL.
func scheme(url string) string {
	s, _, _ := strings.Cut(url, ":")
	return s
}
