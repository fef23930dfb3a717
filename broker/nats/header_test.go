package nats

import (
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/argosy-go/argosy/broker"
)

func TestEscapeKeepsWhatIsPlain(t *testing.T) {
	for plain, want := range map[string]string{
		"":            "",
		"plain text":  "plain text",
		"zwölf 猫":     "zwölf 猫",
		" a  b ":      "%20a  b%20",
		"  ":          "%20%20",
		" ":           "%20",
		"100%":        "100%25",
		"a\r\nb\x00c": "a%0D%0Ab%00c",
		"\x7f":        "%7F",
	} {
		if got := escape(plain); got != want {
			t.Errorf("escape(%q) is %q, want %q", plain, got, want)
		}
	}
}

func TestUnescapeLeavesWhatIsNoEscape(t *testing.T) {
	for _, s := range []string{"", "%", "%2", "100%", "%zz", "%2g", "a%", "%0a"} {
		if got := unescape(s); got != s {
			t.Errorf("unescape(%q) is %q", s, got)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", " ", "a b", "%41", "\r\nX: y\r\n", "\x00\x7f\xff", "ü\u00a0\u0085", "%%%", " % "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := escape(s)
		if got := unescape(escaped); got != s {
			t.Fatalf("unescape(escape(%q)) is %q by way of %q", s, got, escaped)
		}
		if trimmed := textproto.TrimString(escaped); trimmed != escaped {
			t.Fatalf("the client would trim %q to %q", escaped, trimmed)
		}
		h, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\nname: " + escaped + "\r\n\r\n"))
		if err != nil || len(h) != 1 || h.Get("name") != escaped {
			t.Fatalf("%q does not pass the protocol: %q %v", escaped, h, err)
		}
	})
}

func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"%", "%2", "%20", "%zz", "100%", "%25%20"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(s); len(got) > len(s) {
			t.Fatalf("unescape(%q) is longer: %q", s, got)
		}
	})
}

func TestDurableNamesAreReadable(t *testing.T) {
	for want, s := range map[string]broker.Subscription{
		"stock_2forder_2ev1_p0":   {Consumer: "stock/order.v1", Partitions: []int{0}},
		"stock_p0-3":              {Consumer: "stock", Partitions: []int{3, 1, 0, 2}},
		"a_5fb_p1-2_p5_p7-8_p100": {Consumer: "a_b", Partitions: []int{8, 7, 5, 100, 1, 2}},
	} {
		if got := durable(s); got != want {
			t.Errorf("durable(%+v) is %q, want %q", s, got, want)
		}
	}
}

func FuzzDurable(f *testing.F) {
	f.Add("a", "a ", 1, 0x21)
	f.Add("a_p1", "a", 1, 2)
	f.Add(strings.Repeat("x", 300), strings.Repeat("x", 301), 0, 0)
	f.Fuzz(func(t *testing.T, a, b string, p, q int) {
		for _, other := range []broker.Subscription{{Consumer: b, Partitions: []int{p}}, {Consumer: a, Partitions: []int{p, q}}} {
			one := broker.Subscription{Consumer: a, Partitions: []int{p}}
			if len(other.Partitions) == 1 && a == b {
				continue
			}
			x, y := durable(one), durable(other)
			if x == y {
				t.Fatalf("%+v and %+v have the same name %q", one, other, x)
			}
			if len(x) > maxName || strings.ContainsAny(x, ".*> \t\r\n/\\") {
				t.Fatalf("the server accepts no consumer %q", x)
			}
		}
	})
}

func TestASilentConnectionIsFoundWithinAMinute(t *testing.T) {
	o := nats.GetDefaultOptions()
	for _, set := range options(broker.OpenOptions{}) {
		if err := set(&o); err != nil {
			t.Fatal(err)
		}
	}
	if found := o.PingInterval * time.Duration(o.MaxPingsOut+1); found > time.Minute {
		t.Errorf("it is found after %s", found)
	}
}
