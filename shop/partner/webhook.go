package partner

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	"github.com/argosy-go/argosy/shop/witness/webhook"
)

// Webhooks returns the handler of the partner's webhooks: it checks the
// signature and hands the event to take, which is called again for the same
// event whenever the partner is not sure.
func (c *Client) Webhooks(take func(ctx context.Context, e webhook.Event) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, err := c.secret()
		if err != nil {
			fault.WriteHTTP(w, err)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, webhook.MaxBody))
		if err != nil {
			fault.WriteHTTP(w, fault.New(codes.InvalidArgument, fault.ReasonTooLarge, "at most %d bytes", webhook.MaxBody))
			return
		}
		e, err := webhook.Open(secret, r.Header, body, c.c.Now())
		if err != nil {
			fault.WriteHTTP(w, fault.New(codes.Unauthenticated, "BAD_SIGNATURE", "the webhook is not signed as agreed").Wrap(err))
			return
		}
		if err := take(r.Context(), e); err != nil {
			fault.WriteHTTP(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// secret returns what the partner signs with. The file of the fleet's own is
// read once: it stays what it is.
func (c *Client) secret() (string, error) {
	if s := c.c.Secret(); s != "" {
		return s, nil
	}
	if s := c.own.Load(); s != nil {
		return *s, nil
	}
	s, err := Secret(c.c.Dir())
	if err == nil {
		c.own.Store(&s)
	}
	return s, err
}

// Secret returns what the witnesses of the data directory sign their webhooks
// with; it is made on first use. Both sides may ask at once: one of them makes
// it, and both get the same.
func Secret(data string) (string, error) {
	path := filepath.Join(Directory(data), "webhook.secret")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" { // anybody could sign with it
		return "", fmt.Errorf("%s is empty: remove it for a new secret, and start the witnesses again", path)
	}
	return secret, nil
}

// makeSecret writes a secret to the disk beside path and links it there, so
// that nobody ever reads half of one; a link fails when somebody else was first.
func makeSecret(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".secret-*")
	if err != nil {
		return err
	}
	_, werr := tmp.WriteString(rand.Text() + "\n")
	err = errors.Join(werr, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Link(tmp.Name(), path)
	}
	return errors.Join(err, os.Remove(tmp.Name()))
}
