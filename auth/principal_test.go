package auth

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/argosy-go/argosy/fault"
	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

func TestTheCallerTravelsInTheContext(t *testing.T) {
	if p, ok := From(t.Context()); ok || p.Subject != "" {
		t.Errorf("an empty context has the caller %+v", p)
	}
	ctx := With(t.Context(), Principal{Subject: "u1"})
	if p, ok := From(ctx); !ok || p.Subject != "u1" {
		t.Errorf("got %+v, %v", p, ok)
	}
	inner := With(ctx, Principal{Subject: "u2"})
	if p, _ := From(inner); p.Subject != "u2" {
		t.Errorf("the inner caller is %+v", p)
	}
	if p, _ := From(ctx); p.Subject != "u1" {
		t.Errorf("the outer caller became %+v", p)
	}
	if p, ok := From(context.WithoutCancel(inner)); !ok || p.Subject != "u2" {
		t.Errorf("a detached context lost its caller: %+v", p)
	}
}

func TestAuthorize(t *testing.T) {
	nobody := (*Principal)(nil)
	customer := &Principal{Subject: "u1", Roles: []string{"customer"}}
	both := &Principal{Subject: "u2", Roles: []string{"customer", "support"}}
	order := &Principal{Subject: "service/order", Service: "order", Roles: []string{RoleService}}
	for name, c := range map[string]struct {
		caller *Principal
		rule   *argosyv1.Access
		want   codes.Code
	}{
		"no rule lets any caller in":                 {customer, nil, codes.OK},
		"no rule keeps nobody out":                   {nobody, nil, codes.Unauthenticated},
		"an empty rule is no rule":                   {nobody, &argosyv1.Access{}, codes.Unauthenticated},
		"public lets nobody in":                      {nobody, &argosyv1.Access{Public: true}, codes.OK},
		"public wins over roles":                     {customer, &argosyv1.Access{Public: true, Roles: []string{"support"}}, codes.OK},
		"a role that the caller has":                 {customer, &argosyv1.Access{Roles: []string{"customer"}}, codes.OK},
		"one of the roles is enough":                 {both, &argosyv1.Access{Roles: []string{"admin", "support"}}, codes.OK},
		"a role that the caller has not":             {customer, &argosyv1.Access{Roles: []string{"support"}}, codes.PermissionDenied},
		"nobody has a role":                          {nobody, &argosyv1.Access{Roles: []string{"customer"}}, codes.Unauthenticated},
		"a service has its role":                     {order, &argosyv1.Access{Roles: []string{RoleService}}, codes.OK},
		"a service has no other role by itself":      {order, &argosyv1.Access{Roles: []string{"customer"}}, codes.PermissionDenied},
		"a person does not have a service's role":    {both, &argosyv1.Access{Roles: []string{RoleService}}, codes.PermissionDenied},
		"an empty role in a rule opens it to no one": {&Principal{Subject: "u"}, &argosyv1.Access{Roles: []string{""}}, codes.PermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			var p Principal
			if c.caller != nil {
				p = *c.caller
			}
			err := Authorize(p, c.caller != nil, c.rule)
			if got := fault.CodeOf(err); got != c.want {
				t.Fatalf("got %v (%v), want %v", got, err, c.want)
			}
			if err != nil && !fault.From(err).NotDone {
				t.Error("a refusal had no effect and should say so")
			}
		})
	}
}
