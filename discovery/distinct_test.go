package discovery_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/argosy-go/argosy/discovery"
)

func TestOnlyWhatDiffersOrFollowsAnErrorIsReported(t *testing.T) {
	var got []string
	tell := discovery.Distinct(func(addrs []string, err error) { got = append(got, fmt.Sprint(addrs, err)) })
	tell(nil, nil)
	tell(nil, nil)
	tell([]string{"b:1", "a:1", "b:1"}, nil)
	tell([]string{"a:1", "b:1"}, nil)
	tell(nil, errors.New("away"))
	tell([]string{"b:1", "a:1"}, nil)
	tell([]string{"b:1"}, nil)
	want := []string{"[] <nil>", "[a:1 b:1] <nil>", "[] away", "[a:1 b:1] <nil>", "[b:1] <nil>"}
	if !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}
