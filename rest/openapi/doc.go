// Package openapi describes contracts as OpenAPI 3.1. [Generate] runs when code
// is generated, since descriptors in a binary hold no comments; [Merge] joins
// the documents of the services that a program runs; [Docs] is a page to read
// the result, with nothing from another host.
//
//	doc, err := openapi.Merge(catalogpb.OpenAPI, orderpb.OpenAPI)
//	if err != nil {
//		return err
//	}
//	mux.Handle("GET /openapi.json", openapi.Document(doc))
//	mux.Handle("GET /docs", openapi.Docs("shop"))
package openapi
