package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestTheTreeIsWhatTheContractsSay(t *testing.T) {
	root, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	first, err := generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := compare(root, first)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		t.Errorf("%v: run make generate", c)
	}
	second, err := generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(first, second, bytes.Equal) {
		t.Error("two runs differ")
	}
}

const head = "syntax = \"proto3\";\npackage p;\noption go_package = \"" + module + "/p\";\n"

func TestErrorsNameFileLineAndColumn(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a syntax error":             {head + "message M {\n  string = 1;\n}\n", "proto/p/a.proto:5:10: syntax error"},
		"a type that does not exist": {head + "message M {\n  Nothing n = 1;\n}\n", "proto/p/a.proto:5:3: field p.M.n: unknown type Nothing"},
		"an import that no one has":  {head + "import \"no/such.proto\";\n", "proto/p/a.proto:4:8: "},
		"an import without a use":    {head + "import \"google/protobuf/any.proto\";\n", `proto/p/a.proto:4:1: import "google/protobuf/any.proto" not used`},
		"an option that is none":     {head + "import \"google/api/annotations.proto\";\nservice S { rpc M(R) returns (R) { option (google.api.http) = {gett: \"/\"}; } }\nmessage R {}\n", "proto/p/a.proto:5:64: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compile(t.Context(), []source{{path: "proto/p/a.proto", name: "p/a.proto", text: []byte(c.text)}})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAllErrorsAreShownAtOnce(t *testing.T) {
	_, err := compile(t.Context(), []source{{path: "a.proto", name: "a.proto", text: []byte(head + "message M {\n  A a = 1;\n  B b = 2;\n}\n")}})
	if err == nil || !strings.Contains(err.Error(), "a.proto:5:") || !strings.Contains(err.Error(), "a.proto:6:") {
		t.Fatalf("got %v", err)
	}
}

func TestOptionsAndCommentsAreKept(t *testing.T) {
	set, err := compile(t.Context(), []source{{path: "a.proto", name: "a.proto", text: []byte(head +
		"import \"google/api/annotations.proto\";\n// S is described.\nservice S { rpc M(R) returns (R) { option (google.api.http) = {get: \"/r\"}; } }\nmessage R {}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	files, err := typed(set)
	if err != nil {
		t.Fatal(err)
	}
	f, err := files.FindFileByPath("a.proto")
	if err != nil {
		t.Fatal(err)
	}
	s := f.Services().Get(0)
	if got := f.SourceLocations().ByDescriptor(s).LeadingComments; got != " S is described.\n" {
		t.Errorf("comment %q", got)
	}
	options := s.Methods().Get(0).Options().ProtoReflect()
	var set1 []string
	options.Range(func(d protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set1 = append(set1, string(d.FullName()))
		return true
	})
	if !slices.Equal(set1, []string{"google.api.http"}) || len(options.GetUnknown()) > 0 {
		t.Errorf("options %v, and unknown %x", set1, options.GetUnknown())
	}
}

func TestContractsAreFoundWithTheirImportPaths(t *testing.T) {
	root := tree(t, map[string]string{
		"go.mod":                         "module " + module + "\n",
		"proto/argosy/v1/o.proto":        "1",
		"shop/proto/argosy/shop/s.proto": "2",
		"rpc/internal/testpb/t.proto":    "3",
		"rpc/testdata/not.proto":         "4",
		"bench/go.mod":                   "module bench\n",
		"bench/not.proto":                "5",
		".hidden/not.proto":              "6",
	})
	found, err := findSources(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range found {
		got = append(got, s.path+" as "+s.name)
	}
	want := []string{
		"proto/argosy/v1/o.proto as argosy/v1/o.proto",
		"rpc/internal/testpb/t.proto as rpc/internal/testpb/t.proto",
		"shop/proto/argosy/shop/s.proto as argosy/shop/s.proto",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestTwoContractsOfOneImportPathAreRefused(t *testing.T) {
	root := tree(t, map[string]string{"proto/a.proto": "", "shop/proto/a.proto": ""})
	if _, err := findSources(root); err == nil || !strings.Contains(err.Error(), `both imported as "a.proto"`) {
		t.Fatalf("got %v", err)
	}
}

func TestTheTreeIsMadeWhatIsWanted(t *testing.T) {
	root := tree(t, map[string]string{"a/same.pb.go": "1", "a/old.pb.go": "1", "a/gone.pb.go": "1", "a/written.go": "1", "x/testdata/b.pb.go": "1"})
	want := map[string][]byte{"a/same.pb.go": []byte("1"), "a/old.pb.go": []byte("2"), "b/new/new.pb.go": []byte("3")}
	changes, err := compare(root, want)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.String())
		if err := c.apply(root); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []string{"remove a/gone.pb.go", "change a/old.pb.go", "add b/new/new.pb.go"}) {
		t.Errorf("got %q", got)
	}
	if changes, err = compare(root, want); err != nil || len(changes) > 0 {
		t.Errorf("still to do: %v, %v", changes, err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "b/new/new.pb.go")); err != nil || string(text) != "3" {
		t.Errorf("got %q, %v", text, err)
	}
}

// tree writes files into a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
