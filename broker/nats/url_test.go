package nats

import (
	"strings"
	"testing"
)

func TestTheURLSaysServersAndReplicas(t *testing.T) {
	for url, want := range map[string]target{
		"nats://a:4222":                            {"nats://a:4222", 0},
		"nats://a:4222,nats://b:4222":              {"nats://a:4222,nats://b:4222", 0},
		"nats://a:4222,b:4222?replicas=3":          {"nats://a:4222,b:4222", 3},
		"nats://user:p%3Fw@a:4222?replicas=1":      {"nats://user:p%3Fw@a:4222", 1},
		"nats://a:4222?":                           {"nats://a:4222", 0},
		"nats://a:4222?replicas=0":                 {},
		"nats://a:4222?replicas=6":                 {},
		"nats://a:4222?replicas=three":             {},
		"nats://a:4222?replicas=3&replicas=1":      {},
		"nats://a:4222?replica=3":                  {},
		"nats://user:secret@a:4222?replicas=%zz":   {},
		"nats://user:secret@a?replicas=3&x=secret": {},
	} {
		got, err := parseTarget(url)
		if want == (target{}) {
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %+v, %v; want an error without a password", url, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", url, got, err, want)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("nats://a:4222,nats://b:4222?replicas=3")
	f.Add("nats://a?replicas=3&replicas=%")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err == nil && (got.replicas < 0 || got.replicas > maxReplicas || !strings.HasPrefix(s, got.servers)) {
			t.Errorf("%q: %+v", s, got)
		}
		redact(s)
	})
}
