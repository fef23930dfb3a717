package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestAMachineOrdersWithAnAPIKeyOfItsCustomer(t *testing.T) {
	w := open(t, t.TempDir())
	signedIn := w.token
	made := w.must(http.MethodPost, "/v1/api-keys", "", map[string]any{"name": "till 4", "days": 1})
	secret, id := made["secret"].(string), made["key"].(map[string]any)["id"].(string)
	if !strings.HasPrefix(secret, "ak_"+id+"_") {
		t.Fatalf("the key is %q, its id %q", secret, id)
	}

	w.token = secret
	order := w.place("by-machine", "tok_ok", "bananas-1kg")
	if me := w.must(http.MethodGet, "/v1/me", "", nil); me["email"] != "customer@shop.test" {
		t.Errorf("the key is of %v", me)
	}
	if code, body := w.call(http.MethodPost, "/v1/api-keys", "", map[string]any{}); code != http.StatusForbidden {
		t.Errorf("a key made a key: %d %s", code, body)
	}
	w.token = signedIn
	w.must(http.MethodGet, "/v1/orders/"+order["id"].(string), "", nil) // it is the customer's own

	for name, body := range map[string]map[string]any{
		"a role that the caller has not": {"roles": []string{"support"}},
		"for longer than a year":         {"days": 367},
		"for less than nothing":          {"days": -1},
		"with an endless name":           {"name": strings.Repeat("n", 101)},
	} {
		if code, body := w.call(http.MethodPost, "/v1/api-keys", "", body); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	list := w.must(http.MethodGet, "/v1/api-keys", "", nil)
	if keys := list["keys"].([]any); len(keys) != 1 || keys[0].(map[string]any)["name"] != "till 4" {
		t.Errorf("the keys are %v", list)
	}
	if key := w.must(http.MethodPost, "/v1/api-keys/"+id+":revoke", "", map[string]any{}); key["revokeTime"] == nil {
		t.Errorf("revoked: %v", key)
	}
	w.signIn("support@shop.test")
	if code, body := w.call(http.MethodPost, "/v1/api-keys/"+id+":revoke", "", map[string]any{}); code != http.StatusNotFound {
		t.Errorf("somebody else's key: %d %s", code, body)
	}
}
