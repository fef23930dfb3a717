// Package gen is what the generator makes of the shop's contracts: a Go
// package for each below this one, and the OpenAPI document of them all:
//
//	s.OpenAPI(gen.OpenAPI)
//
// "make generate" writes everything here but this file.
package gen

import _ "embed"

// OpenAPI is the document that describes the shop's REST API. It is not to be
// changed.
//
//go:embed openapi.json
var OpenAPI []byte
