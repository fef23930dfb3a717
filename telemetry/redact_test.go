package telemetry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/argosy-go/argosy/telemetry/internal/testpb"
)

func anyOf(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRedact(t *testing.T) {
	secret := func() *testpb.Secret { return &testpb.Secret{Plain: "seen", Password: "hunter2"} }
	blank := func() *testpb.Secret { return &testpb.Secret{Plain: "seen", Password: Redacted} }
	for name, c := range map[string]struct{ in, want *testpb.Secret }{
		"nothing":                    {&testpb.Secret{}, &testpb.Secret{}},
		"what is not marked stays":   {&testpb.Secret{Plain: "a", Labels: map[string]string{"k": "v"}}, &testpb.Secret{Plain: "a", Labels: map[string]string{"k": "v"}}},
		"a string":                   {secret(), blank()},
		"bytes":                      {&testpb.Secret{Key: []byte("k")}, &testpb.Secret{}},
		"a number":                   {&testpb.Secret{Pin: 1234}, &testpb.Secret{}},
		"a list":                     {&testpb.Secret{Codes: []string{"1", "2"}}, &testpb.Secret{}},
		"a map":                      {&testpb.Secret{Headers: map[string]string{"Authorization": "x"}}, &testpb.Secret{}},
		"a message":                  {&testpb.Secret{Hidden: &testpb.Secret{Plain: "a"}}, &testpb.Secret{}},
		"an optional string":         {&testpb.Secret{Hint: proto.String("dog")}, &testpb.Secret{Hint: proto.String(Redacted)}},
		"one of several":             {&testpb.Secret{Proof: &testpb.Secret_Token{Token: "x"}}, &testpb.Secret{Proof: &testpb.Secret_Token{Token: Redacted}}},
		"another of several":         {&testpb.Secret{Proof: &testpb.Secret_Nickname{Nickname: "x"}}, &testpb.Secret{Proof: &testpb.Secret_Nickname{Nickname: "x"}}},
		"in a message":               {&testpb.Secret{Child: secret()}, &testpb.Secret{Child: blank()}},
		"in a list of messages":      {&testpb.Secret{Children: []*testpb.Secret{secret(), secret()}}, &testpb.Secret{Children: []*testpb.Secret{blank(), blank()}}},
		"in a map of messages":       {&testpb.Secret{Named: map[string]*testpb.Secret{"a": secret()}}, &testpb.Secret{Named: map[string]*testpb.Secret{"a": blank()}}},
		"in an Any":                  {&testpb.Secret{Detail: anyOf(t, secret())}, &testpb.Secret{Detail: anyOf(t, blank())}},
		"in an Any of an unknown":    {&testpb.Secret{Detail: &anypb.Any{TypeUrl: "type.googleapis.com/no.Such", Value: []byte("x")}}, &testpb.Secret{Detail: &anypb.Any{TypeUrl: "type.googleapis.com/no.Such"}}},
		"in an Any that is damaged":  {&testpb.Secret{Detail: &anypb.Any{TypeUrl: anyOf(t, secret()).TypeUrl, Value: []byte{0xff}}}, &testpb.Secret{Detail: &anypb.Any{TypeUrl: anyOf(t, secret()).TypeUrl}}},
		"three levels down":          {&testpb.Secret{Child: &testpb.Secret{Children: []*testpb.Secret{{Child: secret()}}}}, &testpb.Secret{Child: &testpb.Secret{Children: []*testpb.Secret{{Child: blank()}}}}},
		"what a newer contract says": {withUnknown(&testpb.Secret{Child: withUnknown(&testpb.Secret{Plain: "a"})}), &testpb.Secret{Child: &testpb.Secret{Plain: "a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			before := proto.Clone(c.in)
			if d := cmp.Diff(c.want, Redact(c.in), protocmp.Transform()); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			if d := cmp.Diff(before, c.in, protocmp.Transform()); d != "" {
				t.Errorf("the message itself changed:\n%s", d)
			}
		})
	}
	if Redact(nil) != nil || Redact((*testpb.Secret)(nil)) != (*testpb.Secret)(nil) {
		t.Error("nil is not nil any more")
	}
}

func withUnknown(m *testpb.Secret) *testpb.Secret {
	m.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 99, protowire.BytesType), "secret of tomorrow"))
	return m
}
