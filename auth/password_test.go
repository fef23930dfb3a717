package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
)

// cheap is a cost for tests that are not about the cost.
func cheap() PasswordConfig { return PasswordConfig{MemoryKiB: 64, Passes: 1} }

func TestPasswords(t *testing.T) {
	p := NewPasswords(cheap())
	phc, err := p.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		phc, password string
		want          bool
	}{
		"the password":                    {phc, "correct horse", true},
		"another password":                {phc, "correct horsf", false},
		"the password and more":           {phc, "correct horse ", false},
		"no password":                     {phc, "", false},
		"a password nobody can have":      {phc, strings.Repeat("x", maxPassword+1), false},
		"a user that does not exist":      {"", "correct horse", false},
		"nobody's user and no password":   {"", "", false},
		"a hash of another program":       {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true},
		"a hash of another program, no":   {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "Password", false},
		"a hash of four lanes, elsewhere": {"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.Verify(t.Context(), c.phc, c.password)
			if err != nil || got != c.want {
				t.Fatalf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestTwoHashesOfOnePasswordDiffer(t *testing.T) {
	p := NewPasswords(cheap())
	a, err1 := p.Hash(t.Context(), "same")
	b, err2 := p.Hash(t.Context(), "same")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Errorf("both are %s", a)
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("%s is not in PHC form", a)
	}
}

func TestPasswordsThatCannotBe(t *testing.T) {
	p := NewPasswords(cheap())
	for _, password := range []string{"", strings.Repeat("x", maxPassword+1)} {
		if phc, err := p.Hash(t.Context(), password); fault.CodeOf(err) != codes.InvalidArgument {
			t.Errorf("%d bytes: got %q, %v", len(password), phc, err)
		}
	}
}

func TestAHashOfAnotherCostIsOutdated(t *testing.T) {
	old, now := NewPasswords(cheap()), NewPasswords(PasswordConfig{MemoryKiB: 128, Passes: 1})
	phc, err := old.Hash(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if old.Outdated(phc) || !now.Outdated(phc) || !now.Outdated("") {
		t.Error("outdated hashes are not told from current ones")
	}
	if ok, err := now.Verify(t.Context(), phc, "x"); !ok || err != nil {
		t.Errorf("an outdated hash still holds: got %v, %v", ok, err)
	}
}

func TestDamagedHashesAreErrors(t *testing.T) {
	const salt, sum = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for name, phc := range map[string]string{
		"not a hash":            "hello",
		"another kind":          "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum,
		"bcrypt":                "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"an old version":        "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum,
		"memory without end":    "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + sum,
		"passes without end":    "$argon2id$v=19$m=64,t=65,p=1$" + salt + "$" + sum,
		"no passes":             "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum,
		"no lanes":              "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum,
		"less memory than lane": "$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + sum,
		"a negative number":     "$argon2id$v=19$m=-64,t=1,p=1$" + salt + "$" + sum,
		"a number with a plus":  "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + sum,
		"a leading zero":        "$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + sum,
		"costs out of order":    "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + sum,
		"no sum":                "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$",
		"a short sum":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$AAAA",
		"no salt":               "$argon2id$v=19$m=64,t=1,p=1$$" + sum,
		"a line break":          "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum[:20] + "\n" + sum[20:],
		"more behind":           "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum + "$x",
	} {
		t.Run(name, func(t *testing.T) {
			if ok, err := NewPasswords(cheap()).Verify(t.Context(), phc, "password"); ok || err == nil {
				t.Fatalf("got %v, %v", ok, err)
			}
		})
	}
}

func TestAFloodOfSignInsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPasswords(PasswordConfig{MemoryKiB: 64, Passes: 1, Concurrent: 1, Waiting: 2})
		p.running <- struct{}{} // somebody is at it
		p.waiting.Add(1)

		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, err := p.Verify(ctx, "", "x")
				results <- err
			}()
		}
		synctest.Wait() // both wait
		_, err := p.Verify(t.Context(), "", "x")
		if e := fault.From(err); e == nil || e.Code != codes.ResourceExhausted || e.RetryAfter == 0 || !e.NotDone {
			t.Errorf("one too many: got %v", err)
		}
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("a waiter whose caller went away: got %v", err)
			}
		}
		<-p.running
		p.waiting.Add(-1)
		if _, err := p.Verify(t.Context(), "", "x"); err != nil {
			t.Errorf("after the flood: %v", err)
		}
	})
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=8,t=1,p=1$$")
	f.Add("")
	f.Fuzz(func(t *testing.T, phc string) {
		h, err := parseHash(phc)
		if err == nil && h.String() != phc {
			t.Fatalf("%q was read as %q", phc, h)
		}
		if err == nil && (h.memory > maxMemory || h.passes == 0 || h.passes > maxPasses || h.lanes == 0 || h.lanes > maxLanes) {
			t.Fatalf("%q asks for %+v", phc, h.cost)
		}
	})
}
