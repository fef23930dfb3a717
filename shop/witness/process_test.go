package witness

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAChildThatEndsAtOnceIsAnErrorThatSaysWhereToLook(t *testing.T) {
	dir := t.TempDir()
	// The test binary knows no such flags, and ends.
	_, err := Ensure(t.Context(), Launch{Name: "bank", Dir: dir, Command: []string{os.Args[0]}})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "bank.log")) {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "bank.log")); err != nil || len(log) == 0 {
		t.Fatalf("%q, %v", log, err)
	}
}

func TestAStrangerOnTheAddressIsNotTheWitness(t *testing.T) {
	self := Address{Name: "bank", PID: os.Getpid(), Instance: "one"}
	answers := map[string]Health{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteJSON(w, http.StatusOK, answers["now"])
	}))
	defer server.Close()
	self.Addr = strings.TrimPrefix(server.URL, "http://")
	dir := t.TempDir()
	if _, ok := Find(t.Context(), dir, "bank"); ok {
		t.Fatal("found where there is no address file")
	}
	if err := self.write(dir); err != nil {
		t.Fatal(err)
	}
	other := self
	other.Instance = "two"
	for name, tt := range map[string]struct {
		health Health
		ok     bool
	}{
		"the witness itself":       {Health{Address: self}, true},
		"another instance":         {Health{Address: other}, false},
		"something else entirely":  {Health{}, false},
		"itself, with its webhook": {Health{Address: self, Pending: 3}, true},
	} {
		answers["now"] = tt.health
		if a, ok := Find(t.Context(), dir, "bank"); ok != tt.ok || ok && a != self {
			t.Errorf("%s: %+v, %v", name, a, ok)
		}
	}
	if err := os.WriteFile(addressPath(dir, "bank"), []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := Find(t.Context(), dir, "bank"); ok {
		t.Fatal("found by a torn address file")
	}
}

func TestADirectoryIsLockedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bank.lock")
	release, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); err == nil {
		t.Fatal("locked twice")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

func FuzzReadJSON(f *testing.F) {
	f.Add(`{"url":"http://127.0.0.1/","secret":"s"}`)
	f.Add(`{"url":1}`)
	f.Add(`{} {}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPut, "/webhook", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		var into hook
		_, err := readJSON(httptest.NewRecorder(), r, &into)
		if refusal, ok := err.(*Refusal); err != nil && (!ok || refusal.Status/100 != 4) {
			t.Fatal(err)
		}
	})
}
