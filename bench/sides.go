package main

import (
	"context"
	"io"
)

// side is one way to serve and to call.
type side struct {
	serve func(ctx context.Context, o options, in io.Reader, out io.Writer) error
	load  func(ctx context.Context, o options, in io.Reader, out io.Writer) error
}

// sides are all of them, by name.
var sides = map[string]side{
	"bare":                    {serveBare, loadBare},
	"bare+headers":            {serveBare, loadBareWithHeaders},
	"argosy":                  {serveArgosy, loadArgosy},
	"kratos":                  {serveKratos, loadKratos},
	"net/http, encoding/json": {servePlain(plainJSON), loadPlain},
	"net/http, protojson":     {servePlain(plainProto), loadPlain},
}

// The services of the two processes of a side.
var (
	served  = []string{"inventory", "echo", "order"}
	calling = []string{"caller"}
)
