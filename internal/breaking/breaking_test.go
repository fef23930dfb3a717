package breaking

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// contract is what the cases change a little.
const contract = `syntax = "proto3";
package lib.v1;
import "argosy/v1/options.proto";
import "google/api/annotations.proto";

service Books {
  rpc Get(GetRequest) returns (Book) {
    option (google.api.http) = {get: "/v1/books/{id}" additional_bindings {get: "/v1/{id=shelves/*}"}};
    option (argosy.v1.access) = {public: true};
    option idempotency_level = NO_SIDE_EFFECTS;
  }
  rpc Lend(LendRequest) returns (Book) {
    option (google.api.http) = {post: "/v1/books/{id}:lend" body: "*"};
    option (argosy.v1.access) = {roles: ["reader", "clerk"]};
    option (argosy.v1.idempotency) = KEYED;
  }
  rpc Burn(BurnRequest) returns (Book) {
    option (google.api.http) = {delete: "/v1/books/{id}"};
    option (argosy.v1.deprecation) = {since: "2026-01-01" sunset: "2026-06-30"};
  }
  rpc Watch(GetRequest) returns (stream Book);
}

message GetRequest { string id = 1; }
message BurnRequest { string id = 1; }
message LendRequest {
  string id = 1;
  int32 days = 2;
  reserved 7;
}
message Book {
  string id = 1;
  string title = 2;
  repeated string authors = 3;
  State state = 4;
  map<string, int32> copies = 5;
  oneof place { string shelf = 6; string loan = 8; }
  optional string note = 9;
  Cover cover = 10;
  message Cover { string colour = 1; }
}
enum State { STATE_UNSPECIFIED = 0; IN = 1; OUT = 2; }
message Lent {
  option (argosy.v1.event) = {key: "book_id"};
  string book_id = 1;
  string reader = 2;
}
message Loose { string text = 1; }
`

// july is after the sunset of Burn, and may before.
var (
	july = time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	may  = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
)

func compiled(t *testing.T, text string) *Contracts {
	t.Helper()
	c, err := Compile(context.Background(), Tree{"api/lib/v1/books.proto": []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatBreaksAndWhom(t *testing.T) {
	readers := "callers of lib.v1.Books/Get (GET /v1/books/{id}, GET /v1/{id=shelves/*})"
	lenders := "callers of lib.v1.Books/Lend (POST /v1/books/{id}:lend)"
	consumers := "consumers of the topic lib.v1.Lent"
	tests := map[string]struct {
		from, to string // in the contract
		at       time.Time
		want     string // name and what; "": nothing breaks
		whom     string
	}{
		"a field that is added":                    {"string title = 2;", "string title = 2; string isbn = 11;", july, "", ""},
		"a method that is added":                   {"rpc Watch", "rpc Take(GetRequest) returns (Book); rpc Watch", july, "", ""},
		"a value that is added":                    {"OUT = 2;", "OUT = 2; LOST = 3;", july, "", ""},
		"a route that is added":                    {`body: "*"};`, `body: "*" additional_bindings {post: "/v2/books/{id}:lend" body: "*"}};`, july, "", ""},
		"another name of a variable in a path":     {`"/v1/books/{id}:lend"`, `"/v1/books/{id=*}:lend"`, july, "", ""},
		"other comments and another order":         {"message GetRequest { string id = 1; }\nmessage BurnRequest { string id = 1; }", "message BurnRequest { string id = 1; }\n// For Get.\nmessage GetRequest { string id = 1; }", july, "", ""},
		"a field that is gone":                     {"int32 days = 2;", "reserved 2;", july, "lib.v1.LendRequest.days: field 2 is gone", lenders},
		"a field of an event":                      {"string reader = 2;", "", july, "lib.v1.Lent.reader: field 2 is gone", consumers},
		"a field that nobody uses":                 {"string text = 1;", "", july, "lib.v1.Loose.text: field 1 is gone", "whoever reads or stores it"},
		"a field with another number":              {"int32 days = 2;", "int32 days = 3;", july, "lib.v1.LendRequest.days: the field has moved from number 2 to 3", lenders},
		"a field with another name":                {"int32 days = 2;", "int32 weeks = 2;", july, "lib.v1.LendRequest.days: field 2 is called weeks now", lenders},
		"a field with another name in JSON":        {"int32 days = 2;", `int32 days = 2 [json_name = "d"];`, july, "lib.v1.LendRequest.days: the field is called d in JSON now, and was days", lenders},
		"a field of another type":                  {"int32 days = 2;", "int64 days = 2;", july, "lib.v1.LendRequest.days: the field is int64 now, and was int32", lenders},
		"a list that is one":                       {"repeated string authors = 3;", "string authors = 3;", july, "lib.v1.Book.authors: the field is string now, and was repeated string", readers},
		"a map of another type":                    {"map<string, int32> copies = 5;", "map<string, int64> copies = 5;", july, "lib.v1.Book.copies: the field is map<string, int64> now, and was map<string, int32>", readers},
		"a field that leaves its oneof":            {"oneof place { string shelf = 6; string loan = 8; }", "oneof place { string shelf = 6; } string loan = 8;", july, "lib.v1.Book.loan: the field has left the oneof place", readers},
		"a field that goes into a oneof":           {"string title = 2;", "oneof name { string title = 2; }", july, "lib.v1.Book.title: the field has moved into the oneof name", readers},
		"a number that was reserved":               {"reserved 7;", "string to = 7;", july, "lib.v1.LendRequest: field to takes the number 7, which was reserved", lenders},
		"a nested message":                         {"message Cover { string colour = 1; }", "message Cover { string color = 1; }", july, "lib.v1.Book.Cover.colour: field 1 is called color now", readers},
		"a message that is gone":                   {"message Loose { string text = 1; }", "", july, "lib.v1.Loose: the message is gone", "whoever reads or stores it"},
		"a value that is gone":                     {"OUT = 2;", "", july, "lib.v1.State.OUT: the value is gone", readers},
		"a value with another name":                {"OUT = 2;", "LENT = 2;", july, "lib.v1.State.OUT: the value is called LENT now: JSON has names", readers},
		"a value with another number":              {"OUT = 2;", "OUT = 3;", july, "lib.v1.State.OUT: the value is 3 now, and was 2", readers},
		"a service that is gone":                   {"service Books {", "service Volumes {", july, "lib.v1.Books.Get: the service Books is gone", readers},
		"an RPC that is gone":                      {"rpc Watch(GetRequest) returns (stream Book);", "", july, "lib.v1.Books.Watch: the RPC is gone", "callers of lib.v1.Books/Watch"},
		"an RPC that is gone before its sunset":    {"rpc Burn(", "rpc Fire(", may, "lib.v1.Books.Burn: the RPC is gone", "callers of lib.v1.Books/Burn (DELETE /v1/books/{id})"},
		"an RPC that is gone after its sunset":     {"rpc Burn(", "rpc Fire(", july, "", ""},
		"what only that RPC used":                  {"BurnRequest", "FireRequest", july, "", ""},
		"a stream that is none":                    {"returns (stream Book);", "returns (Book);", july, "lib.v1.Books.Watch: it is one request and one reply now, and was a stream of replies", "callers of lib.v1.Books/Watch"},
		"another request":                          {"rpc Watch(GetRequest)", "rpc Watch(LendRequest)", july, "lib.v1.Books.Watch: it takes lib.v1.LendRequest now, and took lib.v1.GetRequest", "callers of lib.v1.Books/Watch"},
		"a route that is gone":                     {`additional_bindings {get: "/v1/{id=shelves/*}"}`, "", july, "lib.v1.Books.Get: the route GET /v1/{id=shelves/*} is gone", "callers of GET /v1/{id=shelves/*}"},
		"a route with another verb":                {`post: "/v1/books/{id}:lend"`, `put: "/v1/books/{id}:lend"`, july, "lib.v1.Books.Lend: the route POST /v1/books/{id}:lend is gone", "callers of POST /v1/books/{id}:lend"},
		"a route with another body":                {`body: "*"};`, `body: "days"};`, july, "lib.v1.Books.Lend: the body of POST /v1/books/{id}:lend is the field days now, and was the whole message", "callers of POST /v1/books/{id}:lend"},
		"a method that was public":                 {"{public: true}", `{roles: ["reader"]}`, july, "lib.v1.Books.Get: it was public, and callers have to sign in now", readers},
		"a role that is gone":                      {`["reader", "clerk"]`, `["clerk"]`, july, "lib.v1.Books.Lend: the role reader may not call it any more", lenders},
		"a role that is added":                     {`["reader", "clerk"]`, `["reader", "clerk", "guest"]`, july, "", ""},
		"a key that is required":                   {"= KEYED;", "= KEY_REQUIRED;", july, "lib.v1.Books.Lend: it refuses calls without an idempotency key now", lenders},
		"a key that is none":                       {"option (argosy.v1.idempotency) = KEYED;", "", july, "lib.v1.Books.Lend: callers retry it, as its idempotency key said, and now nothing says that they may", lenders},
		"a method that is not idempotent any more": {"option idempotency_level = NO_SIDE_EFFECTS;", "", july, "lib.v1.Books.Get: callers retry it, as idempotency_level said, and now nothing says that they may", readers},
		"an event of another topic":                {`{key: "book_id"}`, `{key: "book_id" topic: "lent"}`, july, "lib.v1.Lent: its topic is lent now", consumers},
		"an event with another key":                {`{key: "book_id"}`, `{key: "reader"}`, july, "lib.v1.Lent: its key is reader now, and was book_id: events of one book_id come out of order", consumers},
		"an event that is none":                    {`option (argosy.v1.event) = {key: "book_id"};`, "", july, "lib.v1.Lent: the message is no event any more", consumers},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(contract, tt.from) {
				t.Fatalf("the contract has no %q", tt.from)
			}
			found := Compare(compiled(t, contract), compiled(t, strings.ReplaceAll(contract, tt.from, tt.to)), tt.at)
			if tt.want == "" {
				if len(found) > 0 {
					t.Errorf("it broke %+v", found)
				}
				return
			}
			i := slices.IndexFunc(found, func(c Change) bool { return c.Name+": "+c.What == tt.want })
			if i < 0 {
				t.Fatalf("found %+v", found)
			}
			if c := found[i]; c.File != "api/lib/v1/books.proto" || !slices.Contains(c.Whom, tt.whom) || c.Instead == "" {
				t.Errorf("%+v, want whom %s", c, tt.whom)
			}
		})
	}
}

// TestImportsAreFoundWhereverTheyBegin has contracts under two roots, and one
// beside its code.
func TestImportsAreFoundWhereverTheyBegin(t *testing.T) {
	tree := Tree{
		"a/proto/one/v1/one.proto": []byte(`syntax = "proto3"; package one.v1; import "two/v1/two.proto"; import "deep/code/three.proto"; message One { two.v1.Two two = 1; three.Three three = 2; }`),
		"b/two/v1/two.proto":       []byte(`syntax = "proto3"; package two.v1; message Two {}`),
		"deep/code/three.proto":    []byte(`syntax = "proto3"; package three; message Three {}`),
	}
	if _, err := Compile(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	delete(tree, "b/two/v1/two.proto")
	if _, err := Compile(t.Context(), tree); err == nil || !strings.Contains(err.Error(), "a/proto/one/v1/one.proto:1:") || !strings.Contains(err.Error(), "--proto-path") {
		t.Errorf("a missing import is told as: %v", err)
	}
	if _, err := Compile(t.Context(), tree, Tree{"two/v1/two.proto": []byte(`syntax = "proto3"; package two.v1; message Two {}`)}); err != nil {
		t.Errorf("with what was missing: %v", err)
	}
}

func TestContractsOfACommitAreThoseOfTheCommit(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write("api/a.proto", "old")
	write("testdata/b.proto", "no contract")
	write(".hidden/c.proto", "no contract")
	run("init", "-q")
	run("add", ".")
	run("commit", "-q", "-m", "first")
	write("api/a.proto", "new")
	write("api/d.proto", "new")
	then, err := FromGit(t.Context(), dir, "main")
	if err != nil || len(then) != 1 || string(then["api/a.proto"]) != "old" {
		t.Errorf("at main: %q, %v", then, err)
	}
	now, err := FromDir(dir)
	if err != nil || len(now) != 2 || string(now["api/a.proto"]) != "new" {
		t.Errorf("now: %q, %v", now, err)
	}
	for _, ref := range []string{"nope", "--all", "main:api/a.proto"} {
		if _, err := FromGit(t.Context(), dir, ref); err == nil || !strings.Contains(err.Error(), ref) {
			t.Errorf("at %s: %v", ref, err)
		}
	}
}

// FuzzCompare compares what somebody wrote with the contract.
func FuzzCompare(f *testing.F) {
	f.Add(contract)
	f.Add(strings.ReplaceAll(contract, "Book", "Volume"))
	f.Add(`syntax = "proto3"; message M { M m = 1; }`)
	f.Fuzz(func(t *testing.T, text string) {
		old, err := Compile(t.Context(), Tree{"a.proto": []byte(text)})
		if err != nil {
			return
		}
		if found := Compare(old, old, july); len(found) > 0 {
			t.Errorf("it breaks itself: %+v", found)
		}
		now := compiled(t, contract)
		Compare(old, now, july)
		Compare(now, old, july)
	})
}
