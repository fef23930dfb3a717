package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assets embed.FS

// policy lets the page load its own files and talk to its own API, and nothing
// else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

const (
	revalidate = "no-cache"
	forever    = "public, max-age=31536000, immutable"
)

// kinds of the files; the operating system's own table is not asked.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
	".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// file is one answer, made once.
type file struct {
	kind    string
	version string
	plain   []byte
	zipped  []byte
}

// Handler serves the page at / and its files beside it; other paths are 404.
// It never asks anybody anything, so it works whatever else is down.
func Handler() http.Handler {
	files := map[string]*file{}
	page := read("index.html")
	for _, name := range []string{"app.css", "app.js", "favicon.svg"} {
		f := newFile(name, read(name))
		files["/"+name] = f
		page = bytes.ReplaceAll(page, []byte(`"/`+name+`"`), []byte(`"/`+name+`?v=`+f.version+`"`))
	}
	files["/"] = newFile("index.html", page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, files) })
}

// read returns an embedded file, which is there or the program is not.
func read(name string) []byte {
	content, err := assets.ReadFile(path.Join("assets", name))
	if err != nil {
		panic("web: " + err.Error())
	}
	return content
}

func newFile(name string, content []byte) *file {
	var zipped bytes.Buffer
	z, err := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if err != nil {
		panic("web: " + err.Error()) // the level is a constant
	}
	z.Write(content)
	z.Close()
	sum := sha256.Sum256(content)
	return &file{
		kind: kinds[path.Ext(name)], version: hex.EncodeToString(sum[:8]),
		plain: content, zipped: zipped.Bytes(),
	}
}

func serve(w http.ResponseWriter, r *http.Request, files map[string]*file) {
	f := files[r.URL.Path]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	header, body, etag := w.Header(), f.plain, f.version
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		header.Set("Content-Encoding", "gzip")
		body, etag = f.zipped, etag+"-gz"
	}
	etag = strconv.Quote(etag)
	header.Set("Vary", "Accept-Encoding")
	header.Set("ETag", etag)
	header.Set("Cache-Control", revalidate)
	if r.URL.Query().Get("v") == f.version {
		header.Set("Cache-Control", forever)
	}
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	if known(r.Header.Get("If-None-Match"), etag) {
		header.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", f.kind)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		w.Write(body)
	}
}

// known reports whether the caller has this version.
func known(ifNoneMatch, etag string) bool {
	for have := range strings.SplitSeq(ifNoneMatch, ",") {
		have = strings.TrimPrefix(strings.TrimSpace(have), "W/")
		if have == etag || have == "*" {
			return true
		}
	}
	return false
}

// takesGzip reports whether gzip is among the accepted encodings and not
// refused with q=0.
func takesGzip(accept string) bool {
	for coding := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(params), "q="), 64)
		return err != nil || q > 0
	}
	return false
}
