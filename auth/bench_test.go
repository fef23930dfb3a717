package auth

import (
	"testing"
	"time"
)

func BenchmarkAuthenticate(b *testing.B) {
	s := newTestSigner(b, newClock())
	token := sign(b, s, Principal{Subject: "u1", Roles: []string{"customer"}}, time.Hour)
	for name, remember := range map[string]int{"remembered": 0, "verified": -1} {
		b.Run(name, func(b *testing.B) {
			a := NewVerifier(VerifierConfig{Keys: s.Keys(), Now: s.c.Now, Remember: remember})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	s := newTestSigner(b, newClock())
	b.ReportAllocs()
	for b.Loop() {
		sign(b, s, Principal{Subject: "u1", Roles: []string{"customer"}}, time.Hour)
	}
}

func BenchmarkVerifyPassword(b *testing.B) {
	p := NewPasswords(PasswordConfig{})
	phc, err := p.Hash(b.Context(), "correct horse")
	if err != nil {
		b.Fatal(err)
	}
	for name, hash := range map[string]string{"known": phc, "unknown user": ""} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Verify(b.Context(), hash, "correct horse"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
