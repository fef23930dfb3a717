package argosy_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/argosy-go/argosy"
	"github.com/argosy-go/argosy/auth"
	pb "github.com/argosy-go/argosy/docs/guide/greeter/greeterpb"
)

// authority is an issuer of tokens outside the fleet.
type authority struct {
	*httptest.Server
	key     ed25519.PrivateKey
	fetches atomic.Int64 // of its keys
	strays  atomic.Int64 // of anything else
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys" {
			a.strays.Add(1)
			return
		}
		a.fetches.Add(1)
		w.Header().Set("Content-Type", "application/jwk-set+json")
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	t.Cleanup(a.Close)
	return a
}

// token signs what the authority says, with changes of header and claims; nil removes one.
func (a *authority) token(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://idp.test", "aud": "shop", "sub": "u1", "iat": now, "exp": now + 3600, "groups": []string{"customer"},
	})
	token.Header["typ"], token.Header["kid"] = "at+jwt", "k"
	maps.Copy(token.Header, header)
	maps.Copy(token.Claims.(jwt.MapClaims), claims)
	for _, m := range []map[string]any{token.Header, token.Claims.(jwt.MapClaims)} {
		maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	}
	text, err := token.SignedString(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// whoCalls greets its caller.
func whoCalls(ctx context.Context, _ string) (string, error) {
	p, ok := auth.From(ctx)
	return fmt.Sprintf("%s %v %v", p.Subject, p.Roles, ok), nil
}

// asked asks who calls, on both edges, and returns what each says: the answer,
// or the name of the refusal.
func asked(t *testing.T, f *argosy.Fleet, headers map[string]string) (rest, grpcs string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.Addrs().HTTP+"/v1/greetings", strings.NewReader(`{"name":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	rest = string(body)
	if resp.StatusCode != http.StatusOK {
		rest = http.StatusText(resp.StatusCode)
	}

	conn, err := grpc.NewClient(f.Addrs().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := t.Context()
	for k, v := range headers {
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	reply, err := pb.NewGreeterClient(conn).Greet(ctx, &pb.GreetRequest{Name: "x"})
	if err != nil {
		return rest, status.Code(err).String()
	}
	return rest, reply.Text
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func TestTokensOfAnIssuerOutsideAreTakenOnBothEdges(t *testing.T) {
	a := newAuthority(t)
	p := program(t, serving("greeter", whoCalls))
	p.Args = append(p.Args, "--auth-issuer=https://idp.test", "--auth-audience=shop", "--auth-jwks="+a.URL+"/keys", "--auth-roles-claim=groups")
	f := start(t, p)
	const who = "https://idp.test#u1 [customer] true"
	if rest, grpcs := asked(t, f, bearer(a.token(t, nil, nil))); !strings.Contains(rest, who) || grpcs != who {
		t.Fatalf("REST %s, gRPC %s; want %s", rest, grpcs, who)
	}
	now := time.Now().Unix()
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt","kid":"k"}`))
	good := a.token(t, nil, nil)
	for name, token := range map[string]string{
		"alg none":      none + good[strings.IndexByte(good, '.'):strings.LastIndexByte(good, '.')+1],
		"wrong alg":     a.token(t, map[string]any{"alg": "RS256"}, nil),
		"wrong aud":     a.token(t, nil, map[string]any{"aud": "bank"}),
		"wrong iss":     a.token(t, nil, map[string]any{"iss": a.URL}),
		"iss the fleet": a.token(t, nil, map[string]any{"iss": "argosy", "aud": "argosy", "nbf": now}),
		"wrong typ":     a.token(t, map[string]any{"typ": "JWT"}, nil),
		"expired":       a.token(t, nil, map[string]any{"exp": now - 60}),
		"unknown kid":   a.token(t, map[string]any{"kid": "made up"}, nil),
		"no kid":        a.token(t, map[string]any{"kid": nil}, nil),
		"jku":           a.token(t, map[string]any{"jku": a.URL + "/stray"}, nil),
		"x5u":           a.token(t, map[string]any{"x5u": a.URL + "/stray"}, nil),
		"crit":          a.token(t, map[string]any{"crit": []string{"exp"}}, nil),
		"no token":      "hello",
	} {
		t.Run(name, func(t *testing.T) {
			rest, grpcs := asked(t, f, bearer(token))
			if rest != http.StatusText(http.StatusUnauthorized) || grpcs != codes.Unauthenticated.String() {
				t.Errorf("REST %s, gRPC %s; want 401 and UNAUTHENTICATED", rest, grpcs)
			}
		})
	}
	if a.fetches.Load() != 1 || a.strays.Load() != 0 {
		t.Errorf("the keys were fetched %d times, want once; what tokens point at %d times, want never", a.fetches.Load(), a.strays.Load())
	}
}

func TestAnIssuerThatIsHalfSetFailsTheStart(t *testing.T) {
	for _, arg := range []string{"--auth-issuer=https://idp.test", "--auth-audience=shop", "--auth-jwks=https://idp.test/keys"} {
		p := program(t, serving("greeter", hello))
		p.Args = append(p.Args, arg)
		if f, err := argosy.Start(t.Context(), p); err == nil {
			_ = f.Stop(t.Context())
			t.Errorf("%s alone is accepted", arg)
		} else if !strings.Contains(err.Error(), "--auth-issuer") {
			t.Errorf("%s: the error does not say what to set: %v", arg, err)
		}
	}
}
