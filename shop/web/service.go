package web

import (
	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/shop/gen"
)

// Service serves the page on the HTTP edge. It has no data and calls nobody:
// the page asks the API.
var Service = argosy.Service{Name: "web", Setup: func(s *argosy.Setup) error {
	s.OpenAPI(gen.OpenAPI)
	page := Handler()
	for _, pattern := range []string{"/{$}", "/app.css", "/app.js", "/favicon.svg"} {
		s.Handle(pattern, page)
	}
	return nil
}}
