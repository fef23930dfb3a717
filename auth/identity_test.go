package auth

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

func TestTheNameOfAServiceHasOneSpelling(t *testing.T) {
	for name, good := range map[string]bool{
		"spiffe://shop/order": true, "spiffe://shop.example_2-b/order-book": true, "spiffe://s/o2": true,
		"": false, "spiffe://": false, "spiffe:///order": false, "spiffe://shop": false, "spiffe://shop/": false,
		"spiffe://shop/order/": false, "spiffe://shop/order/v1": false, "spiffe://shop//order": false,
		"SPIFFE://shop/order": false, "spiffe://Shop/order": false, "spiffe://shop/Order": false,
		"spiffe://shop:443/order": false, "spiffe://u@shop/order": false, "spiffe://shop/order?a": false,
		"spiffe://shop/order#a": false, "spiffe://shop/%6frder": false, "spiffe://sh%6fp/order": false,
		"spiffe://shop/..": false, "spiffe://shop/.": false, "https://shop/order": false, "spiffe:shop/order": false,
		"spiffe://shop/-order": false, "spiffe://shop/order-": false, "spiffe://shop/or--der": false, "spiffe://shop/2nd": false,
		"spiffe://shop/ordér": false, "spiffe://shop/order\x00": false, "spiffe://shop/order,stock": false,
		"spiffe://shop/" + strings.Repeat("a", 40): true, "spiffe://shop/" + strings.Repeat("a", 41): false,
		"spiffe://" + strings.Repeat("a", 256) + "/order": false,
	} {
		if _, _, err := ParseServiceURI(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestACertificateNamesServicesOfOneFleet(t *testing.T) {
	for name, c := range map[string]struct {
		uris []string
		want string // "" when refused
	}{
		"one":                     {[]string{"spiffe://shop/order"}, "spiffe://shop/order"},
		"two":                     {[]string{"spiffe://shop/order", "spiffe://shop/stock"}, "spiffe://shop/order,spiffe://shop/stock"},
		"one twice":               {[]string{"spiffe://shop/order", "spiffe://shop/order"}, "spiffe://shop/order"},
		"none":                    {nil, ""},
		"two fleets":              {[]string{"spiffe://shop/order", "spiffe://bank/order"}, ""},
		"a URI that is none":      {[]string{"spiffe://shop/order", "https://shop/order"}, ""},
		"an encoded one":          {[]string{"spiffe://shop/%6frder"}, ""},
		"a fleet without service": {[]string{"spiffe://shop"}, ""},
		"too many":                {make([]string, maxNames+1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var cert x509.Certificate
			for _, s := range c.uris {
				u, err := url.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				cert.URIs = append(cert.URIs, u)
			}
			id, err := CertificateIdentity(&cert)
			if id.String() != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v; want %q", id, err, c.want)
			}
		})
	}
}

// What is read as the name of a service is the name that is written for it.
func FuzzParseServiceURI(f *testing.F) {
	for _, s := range []string{"spiffe://shop/order", "spiffe://shop", "spiffe://shop/a/b", "spiffe://a:1/b", "spiffe://a/b%2fc", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		fleet, service, err := ParseServiceURI(name)
		if err != nil {
			if strings.Contains(err.Error(), name) && len(name) > len(nameScheme) {
				t.Errorf("the error repeats %q", name)
			}
			return
		}
		if ServiceURI(fleet, service) != name {
			t.Errorf("%q is read as %q and %q", name, fleet, service)
		}
		u, err := url.Parse(name)
		if err != nil || u.String() != name || u.Host != fleet || u.Path != "/"+service || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("package url reads %q as %+v, %v", name, u, err)
		}
	})
}

// No certificate, however odd, names a service that it does not spell out.
func FuzzCertificateIdentity(f *testing.F) {
	ca, err := NewLocalCA(LocalCAConfig{Fleet: "shop"})
	if err != nil {
		f.Fatal(err)
	}
	for _, services := range [][]string{{"order"}, {"order", "stock"}} {
		text, _, err := ca.Issue(services...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(certificateOf(f, text).Raw)
	}
	f.Add(ca.cert.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := CertificateIdentity(c)
		if err != nil {
			return
		}
		if len(id.Services) == 0 || len(id.Services) > len(c.URIs) {
			t.Errorf("%d names make %q", len(c.URIs), id)
		}
		for _, s := range id.Services {
			if !strings.Contains(string(der), ServiceURI(id.Fleet, s)) {
				t.Errorf("%s is not in the certificate", ServiceURI(id.Fleet, s))
			}
		}
	})
}
