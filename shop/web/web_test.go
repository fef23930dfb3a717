package web

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
)

var serveAt = flag.String("serve", "", "serve the page with a small API at this `address` instead of testing")

func TestMain(m *testing.M) {
	flag.Parse()
	if *serveAt == "" {
		os.Exit(m.Run())
	}
	fmt.Println("http://" + *serveAt)
	fmt.Println(http.ListenAndServe(*serveAt, newFake().handler()))
	os.Exit(1)
}

func get(t *testing.T, method, target string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// files returns what the page loads, as it asks for it.
func files(t *testing.T) []string {
	t.Helper()
	page := body(t, get(t, "GET", "/", nil))
	var found []string
	for _, m := range regexp.MustCompile(`(?:href|src)="(/[^"]+)"`).FindAllSubmatch(page, -1) {
		found = append(found, string(m[1]))
	}
	if len(found) != 3 {
		t.Fatalf("the page loads %q", found)
	}
	return found
}

func TestThePageIsOneHTMLOneCSSAndOneJSUnder60KB(t *testing.T) {
	total := len(body(t, get(t, "GET", "/", nil)))
	for _, f := range files(t) {
		r := get(t, "GET", f, nil)
		if r.StatusCode != 200 || r.Header.Get("Cache-Control") != forever {
			t.Errorf("%s: %d, %s", f, r.StatusCode, r.Header.Get("Cache-Control"))
		}
		total += len(body(t, r))
	}
	if total > 60_000 {
		t.Errorf("%d bytes", total)
	}
}

func TestNothingIsLoadedFromElsewhereAndNothingIsInline(t *testing.T) {
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(`)
	inline := regexp.MustCompile(`(?i)<script(?: type="module")?>|<style|\sstyle="|\son[a-z]+="|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(`)
	for _, f := range append(files(t), "/") {
		text := bytes.ReplaceAll(body(t, get(t, "GET", f, nil)), []byte("http://www.w3.org/2000/svg"), nil)
		if m := elsewhere.Find(text); m != nil {
			t.Errorf("%s: %s", f, m)
		}
		if m := inline.Find(text); m != nil {
			t.Errorf("%s: %s", f, m)
		}
	}
}

func TestThePolicyAllowsOnlyItself(t *testing.T) {
	h := get(t, "GET", "/", nil).Header
	csp := h.Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Fatal(h)
	}
}

func TestAVersionThatTheBrowserHasIsNotSentAgain(t *testing.T) {
	for _, encoding := range []string{"", "gzip, br"} {
		header := http.Header{"Accept-Encoding": {encoding}}
		first := get(t, "GET", "/", header)
		if first.Header.Get("Cache-Control") != revalidate || first.Header.Get("ETag") == "" {
			t.Fatal(first.Header)
		}
		header.Set("If-None-Match", `"other", W/`+first.Header.Get("ETag"))
		again := get(t, "GET", "/", header)
		if again.StatusCode != http.StatusNotModified || len(body(t, again)) > 0 {
			t.Fatalf("%q: %d", encoding, again.StatusCode)
		}
	}
}

func TestCompressionIsForThoseWhoTakeIt(t *testing.T) {
	plain := body(t, get(t, "GET", "/app.js", nil))
	for accept, zipped := range map[string]bool{"": false, "gzip": true, "br;q=1, gzip;q=0.5": true, "gzip;q=0": false, "br": false} {
		r := get(t, "GET", "/app.js", http.Header{"Accept-Encoding": {accept}})
		got := body(t, r)
		if zipped != (r.Header.Get("Content-Encoding") == "gzip") {
			t.Fatalf("%q: %v", accept, r.Header)
		}
		if zipped {
			z, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			got, _ = io.ReadAll(z)
		}
		if !bytes.Equal(got, plain) {
			t.Fatalf("%q: another file", accept)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/nothing", 404}, {"GET", "/../web.go", 404}, {"GET", "/index.html", 404},
		{"POST", "/", 405}, {"HEAD", "/", 200}, {"GET", "/app.js?v=old", 200},
	} {
		r := get(t, tt.method, tt.path, nil)
		if r.StatusCode != tt.status {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, r.StatusCode, tt.status)
		}
		if b := body(t, r); tt.method == "HEAD" && len(b) > 0 {
			t.Error("HEAD has a body")
		}
	}
	if c := get(t, "GET", "/app.js?v=old", nil).Header.Get("Cache-Control"); c != revalidate {
		t.Errorf("an old version is kept %s", c)
	}
}
