package event

import (
	"errors"
	"testing"
	"time"
)

func FuzzDecodeHeader(f *testing.F) {
	f.Add("1.0", "1", "/order", "a.B", "2031-02-03T04:05:06.000789Z", "", "application/protobuf", "k")
	f.Add("1.0", "1", "/order", "a.B", "yesterday", "2031-02-03T04:05:06+01:00", "application/json", "")
	f.Add("0.3", "", "", "", "", "9999-12-31T23:59:59.999999999-23:59", "application/protobuf; a=b", "\x00")
	f.Fuzz(func(t *testing.T, spec, id, source, kind, at, expires, content, key string) {
		m, err := decodeHeader(map[string]string{headerSpec: spec, headerID: id, headerSource: source, headerType: kind,
			headerTime: at, headerExpires: expires, headerContent: content, headerKey: key})
		if m.Key != key || m.ID != id {
			t.Errorf("key %q, id %q were read as %q, %q", key, id, m.Key, m.ID)
		}
		if err != nil {
			if !errors.Is(err, errUndecodable) {
				t.Errorf("the error is %v", err)
			}
			return
		}
		again, err := decodeHeader(m.header())
		if err != nil || again.ID != m.ID || again.Type != m.Type || again.Source != m.Source || !again.Time.Equal(m.Time) || !again.Expires.Equal(m.Expires) {
			t.Errorf("%+v was read again as %+v, %v", m, again, err)
		}
	})
}

func TestDelaysGrowAndStayBelowTheirLimit(t *testing.T) {
	b := backoff{200 * time.Millisecond, time.Minute}
	for n := 1; n <= 1000; n++ {
		most := b.most
		if n < 10 {
			most = min(b.most, b.least<<(n-1))
		}
		if d := b.after(n); d < most/2 || d > most {
			t.Errorf("after %d failures the delay is %v and not between %v and %v", n, d, most/2, most)
		}
	}
}

func TestAKeyStaysInItsPartition(t *testing.T) {
	// Fixed for ever: a change would let the events of a key overtake each other.
	for key, want := range map[string]int{"": 1, "a": 3, "b": 3, "order-1": 1} {
		if got := partitionOf(key); got != want {
			t.Errorf("key %q is in partition %d and not %d", key, got, want)
		}
	}
}
