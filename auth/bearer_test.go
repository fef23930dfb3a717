package auth_test

import (
	"errors"
	"testing"

	"github.com/argosy-go/argosy/auth"
)

func TestOneBearerTokenIsTaken(t *testing.T) {
	tests := map[string]struct {
		given []string
		token string
		bad   bool
	}{
		"nothing":            {nil, "", false},
		"a token":            {[]string{"Bearer abc"}, "abc", false},
		"in any case":        {[]string{"bEARER  abc "}, "abc", false},
		"another scheme":     {[]string{"Basic YTpi"}, "", true},
		"no scheme":          {[]string{"abc"}, "", true},
		"no token":           {[]string{"Bearer "}, "", true},
		"empty":              {[]string{""}, "", true},
		"two at the door":    {[]string{"Bearer abc", "Bearer def"}, "", true},
		"the same one twice": {[]string{"Bearer abc", "Bearer abc"}, "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			token, err := auth.Bearer(tt.given)
			if token != tt.token || errors.Is(err, auth.ErrAuthorization) != tt.bad || tt.bad != (err != nil) {
				t.Errorf("got %q, %v", token, err)
			}
		})
	}
}
