package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html"
	"net/http"
	"strconv"
)

var (
	//go:embed page.html
	pageHTML []byte
	//go:embed page.css
	pageCSS []byte
	//go:embed page.js
	pageJS []byte
)

// Document returns a handler that serves a document as JSON, with an ETag.
func Document(doc []byte) http.Handler {
	sum := sha256.Sum256(doc)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:9]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Etag", tag)
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(doc)))
		_, _ = w.Write(doc) // the client may be gone; nobody is left to tell
	})
}

// Docs returns a handler that serves a page to read /openapi.json, which must
// be served by the same host. The page is one response: it loads nothing else
// from anywhere, and its content security policy allows nothing else.
func Docs(title string) http.Handler {
	page := bytes.ReplaceAll(pageHTML, []byte("{{title}}"), []byte(html.EscapeString(title)))
	page = bytes.Replace(page, []byte("{{css}}"), pageCSS, 1)
	page = bytes.Replace(page, []byte("{{js}}"), pageJS, 1)
	policy := "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; style-src '" + hashOf(pageCSS) + "'; script-src '" + hashOf(pageJS) + "'"
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Length", strconv.Itoa(len(page)))
		_, _ = w.Write(page) // the client may be gone; nobody is left to tell
	})
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
