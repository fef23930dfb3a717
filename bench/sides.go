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
	"net/http, encoding/json": {servePlain(plainJSON), loadPlain},
	"net/http, protojson":     {servePlain(plainProto), loadPlain},
}
