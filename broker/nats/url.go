package nats

import (
	"net/url"
	"strconv"
	"strings"
)

// maxReplicas is the most that JetStream keeps.
const maxReplicas = 5

// target is what the URL of the setting says.
type target struct {
	// servers are URLs for the client, separated by commas.
	servers string
	// replicas is how many servers keep each message; 0: not said.
	replicas int
}

// parseTarget reads "nats://a:4222,nats://b:4222?replicas=3". What is refused is
// not shown: it may hold a password.
func parseTarget(s string) (target, error) {
	servers, query, _ := strings.Cut(s, "?")
	t := target{servers: servers}
	values, err := url.ParseQuery(query)
	if err != nil {
		return t, errInvalid.WithMessage("the URL of the broker: what stands behind ? is no list of parameters, as in ?replicas=3")
	}
	for name, v := range values {
		if name != "replicas" {
			return t, errInvalid.WithMessage("the URL of the broker: there is no parameter %q; there is: replicas", name)
		}
		n, err := strconv.Atoi(v[0])
		if err != nil || len(v) > 1 || n < 1 || n > maxReplicas {
			return t, errInvalid.WithMessage("the URL of the broker: replicas is a number from 1 to %d, given once", maxReplicas)
		}
		t.replicas = n
	}
	return t, nil
}

// redact hides passwords in a list of URLs.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, s := range list {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil {
			list[i] = u.Redacted()
		} else {
			list[i] = "(not a URL)"
		}
	}
	return strings.Join(list, ",")
}
