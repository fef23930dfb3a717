package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// SignatureHeader holds "t=<unix seconds>,v1=<hex>": the HMAC-SHA256 of
	// "<unix seconds>.<body>" under the shared secret.
	SignatureHeader = "Witness-Signature"
	// Tolerance is how old or how far ahead a signature may be.
	Tolerance = 5 * time.Minute
	// MaxBody is the greatest length of a body, in bytes.
	MaxBody = 64 << 10
)

// ErrSignature is a webhook that was not signed with the secret, or too long
// ago.
var ErrSignature = errors.New("webhook: bad signature")

// Sign returns the value of [SignatureHeader] for a body sent now.
func Sign(secret string, now time.Time, body []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

// Verify checks that a body was signed with the secret about now.
func Verify(secret string, header http.Header, body []byte, now time.Time) error {
	t, sum, ok := strings.Cut(header.Get(SignatureHeader), ",")
	t, okTime := strings.CutPrefix(t, "t=")
	sum, okSum := strings.CutPrefix(sum, "v1=")
	if !ok || !okTime || !okSum {
		return fmt.Errorf("%w: header %s is missing or malformed", ErrSignature, SignatureHeader)
	}
	got, err := hex.DecodeString(sum)
	if err != nil || !hmac.Equal(got, mac(secret, t, body)) {
		return ErrSignature
	}
	unix, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the time is malformed", ErrSignature)
	}
	if age := now.Sub(time.Unix(unix, 0)).Abs(); age > Tolerance {
		return fmt.Errorf("%w: it is %s away from now", ErrSignature, age)
	}
	return nil
}

// Open verifies a body and decodes the event in it.
func Open(secret string, header http.Header, body []byte, now time.Time) (Event, error) {
	if err := Verify(secret, header, body, now); err != nil {
		return Event{}, err
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("webhook: %w", err)
	}
	return e, nil
}

func mac(secret, t string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}
