package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// fetcher returns the text of a JWKS document, at most a byte more than is
// allowed. Its errors hold no more than the address, which is no secret.
type fetcher func(ctx context.Context) ([]byte, error)

// newFetcher returns what fetches from a place: an https URL, an http URL of
// this machine, or a path.
func newFetcher(place string, transport http.RoundTripper) (fetch fetcher, isFile bool, err error) {
	u, err := url.Parse(place)
	switch {
	case place == "":
		return nil, false, errors.New("no URL and no file is given")
	case err != nil:
		return nil, false, errors.New("what is given is no URL and no path") // err repeats it
	case u.Scheme == "" && u.Host == "", filepath.IsAbs(place):
		return fileFetcher(place), true, nil
	case u.User != nil:
		return nil, false, errors.New("a URL with a user or a password is refused: it would be logged")
	case u.Scheme == "file" && u.Host == "" && u.Path != "":
		return fileFetcher(u.Path), true, nil
	case u.Scheme == "https" && u.Host != "", u.Scheme == "http" && isLoopback(u.Hostname()):
		return httpFetcher(u.String(), transport), false, nil
	}
	return nil, false, fmt.Errorf("%s is refused: it must be an https URL, an http URL of this machine, or a file", place)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

func fileFetcher(path string) fetcher {
	return func(context.Context) ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() { // a pipe would never end
			return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
		}
		return io.ReadAll(io.LimitReader(f, maxJWKSBytes+1))
	}
}

// httpFetcher asks an HTTP server. It follows no redirect: the keys are those
// of the address that somebody configured, not of where it points today.
func httpFetcher(address string, transport http.RoundTripper) fetcher {
	if transport == nil {
		transport = &http.Transport{ // unlike the default one, it does not read the environment
			DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, // one request in minutes needs no pool
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return func(ctx context.Context) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/jwk-set+json, application/json")
		resp, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the answer has status %d (redirects are not followed)", resp.StatusCode)
		}
		kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || kind != "application/jwk-set+json" && kind != "application/json" {
			return nil, errors.New("the answer is neither application/jwk-set+json nor application/json")
		}
		return io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes+1))
	}
}
