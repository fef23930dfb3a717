package sunset

import (
	"slices"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-go/argosy/proto/argosy/v1"
)

func TestANoticeIsWhatTheHeadersSay(t *testing.T) {
	n, err := read(&argosyv1.Deprecation{
		Since: "2026-01-31", Sunset: "2027-01-31", Guide: "https://shop.test/how to>move", Successor: "/v2/books",
	})
	if err != nil {
		t.Fatal(err)
	}
	links := []string{`<https://shop.test/how%20to%3Emove>; rel="deprecation"`, `</v2/books>; rel="successor-version"`}
	if n.Deprecation != "@1769817600" || n.Sunset != "Sun, 31 Jan 2027 00:00:00 GMT" || !slices.Equal(n.Links, links) {
		t.Errorf("%+v", n)
	}
	n, err = read(&argosyv1.Deprecation{Since: "2026-01-31"})
	if err != nil || n.Sunset != "" || !n.Day.IsZero() || n.Links != nil {
		t.Errorf("of the least that can be said: %+v, %v", n, err)
	}
}

func TestANoticeThatCannotBeAnnouncedIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		d    *argosyv1.Deprecation
		want string
	}{
		"no day":                  {&argosyv1.Deprecation{}, "since"},
		"a day that is none":      {&argosyv1.Deprecation{Since: "2026-02-30"}, "since"},
		"a sunset that is none":   {&argosyv1.Deprecation{Since: "2026-01-31", Sunset: "soon"}, "sunset"},
		"a sunset that was first": {&argosyv1.Deprecation{Since: "2026-01-31", Sunset: "2026-01-30"}, "sunset"},
		"a guide that is no URL":  {&argosyv1.Deprecation{Since: "2026-01-31", Guide: "http://[::1"}, "guide"},
		"a successor of no use":   {&argosyv1.Deprecation{Since: "2026-01-31", Successor: "/a\nSet-Cookie: b"}, "successor"},
	} {
		if _, err := read(tt.d); err == nil || !strings.Contains(err.Error(), "deprecation."+tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
