package httpapi

import (
	"net/http"
	"net/netip"
	"testing"
)

// TestClient: whose address is logged.
func TestClient(t *testing.T) {
	trusted := proxies{prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	for _, tt := range []struct {
		name, remote        string
		forwarded, standard []string
		want                string
	}{
		{"no proxy", "192.0.2.1:4711", nil, nil, "192.0.2.1"},
		{"who is not trusted says what it likes", "192.0.2.1:4711", []string{"198.51.100.1"}, []string{"for=198.51.100.1"}, "192.0.2.1"},
		{"a proxy that says nothing", "10.0.0.1:4711", nil, nil, "10.0.0.1"},
		{"one proxy", "10.0.0.1:4711", []string{"198.51.100.1"}, nil, "198.51.100.1"},
		{"mapped", "[::ffff:10.0.0.1]:4711", []string{"::ffff:198.51.100.1"}, nil, "198.51.100.1"},
		{"three proxies", "10.0.0.1:4711", []string{"198.51.100.1, 10.1.1.1, 10.2.2.2"}, nil, "198.51.100.1"},
		{"forged in front", "10.0.0.1:4711", []string{"203.0.113.1, 198.51.100.1, 10.1.1.1"}, nil, "198.51.100.1"},
		{"forged in front, a trusted one's", "10.0.0.1:4711", []string{"10.9.9.9, 198.51.100.1"}, nil, "198.51.100.1"},
		{"two of the header", "10.0.0.1:4711", []string{"203.0.113.1", "198.51.100.1,10.1.1.1"}, nil, "198.51.100.1"},
		{"only proxies", "10.0.0.1:4711", []string{"10.3.3.3, 10.1.1.1"}, nil, "10.3.3.3"},
		{"with a port", "10.0.0.1:4711", []string{"198.51.100.1:80"}, nil, "198.51.100.1"},
		{"IPv6", "[2001:db8::1]:4711", []string{"2001:db9::7"}, nil, "2001:db9::7"},
		{"IPv6 with a port", "[2001:db8::1]:4711", []string{"[2001:db9::7]:80"}, nil, "2001:db9::7"},
		{"nonsense ends it", "10.0.0.1:4711", []string{"198.51.100.1, x\n, 10.1.1.1"}, nil, "10.1.1.1"},
		{"nonsense at the end", "10.0.0.1:4711", []string{"198.51.100.1, unknown"}, nil, "10.0.0.1"},
		{"empty", "10.0.0.1:4711", []string{""}, nil, "10.0.0.1"},
		{"a zone", "10.0.0.1:4711", []string{"fe80::1%eth0"}, nil, "10.0.0.1"},
		{"standard", "10.0.0.1:4711", nil, []string{`proto=http;For="198.51.100.1:80";by=10.0.0.1`}, "198.51.100.1"},
		{"standard, IPv6", "10.0.0.1:4711", nil, []string{`for=203.0.113.1, for="[2001:db9::7]:80", for=10.1.1.1`}, "2001:db9::7"},
		{"standard, hidden", "10.0.0.1:4711", nil, []string{`for=198.51.100.1, for=_hidden`}, "10.0.0.1"},
		{"a host that looks like elements", "10.0.0.1:4711", nil, []string{`for=198.51.100.1;host="shop.example,for=9.9.9.9;x="`}, "198.51.100.1"},
		{"a host that looks like elements, in front", "10.0.0.1:4711", nil, []string{`host="shop.example;for=9.9.9.9,for=9.9.9.9";for=198.51.100.1`}, "198.51.100.1"},
		{"a host with quotes", "10.0.0.1:4711", nil, []string{`for=198.51.100.1;host="a\\\",for=9.9.9.9;x=\"\\"`}, "198.51.100.1"},
		{"a quote that a client opened", "10.0.0.1:4711", nil, []string{`for="9.9.9.9, for=198.51.100.1`}, "198.51.100.1"},
		{"a quote that a client opened, and a host", "10.0.0.1:4711", nil, []string{`host="a;for=9.9.9.9, for=198.51.100.1;host="b", for=10.1.1.1`}, "198.51.100.1"},
		{"a quote that has no end", "10.0.0.1:4711", nil, []string{`host="a;for=198.51.100.1, for=10.1.1.1`}, "10.1.1.1"},
		{"a quote that has no beginning", "10.0.0.1:4711", nil, []string{`for=198.51.100.1, host=a";for=10.1.1.1`}, "10.0.0.1"},
		{"a quote that ends nothing", "10.0.0.1:4711", nil, []string{`for=198.51.100.1;host="a\"`}, "10.0.0.1"},
		{"two addresses in one element", "10.0.0.1:4711", nil, []string{`for=9.9.9.9;host=a;for=198.51.100.1`}, "10.0.0.1"},
		{"both agree", "10.0.0.1:4711", []string{"198.51.100.1"}, []string{"for=198.51.100.1"}, "198.51.100.1"},
		{"one of both is forged", "10.0.0.1:4711", []string{"203.0.113.1"}, []string{"for=198.51.100.1"}, "10.0.0.1"},
		{"no address and port", "@", []string{"203.0.113.1"}, nil, "@"},
	} {
		header := http.Header{}
		if tt.forwarded != nil {
			header["X-Forwarded-For"] = tt.forwarded
		}
		if tt.standard != nil {
			header["Forwarded"] = tt.standard
		}
		if got := trusted.client(false, tt.remote, header); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestClientUnix: whose address is logged of what comes by a unix socket.
func TestClientUnix(t *testing.T) {
	inner := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	forwarded := http.Header{"X-Forwarded-For": {"198.51.100.1, 10.1.1.1"}}
	for _, tt := range []struct {
		name    string
		trusted proxies
		remote  string
		header  http.Header
		want    string
	}{
		{"trusted", proxies{inner, true}, "@", forwarded, "198.51.100.1"},
		{"trusted, standard", proxies{inner, true}, "@", http.Header{"Forwarded": {"for=198.51.100.1"}}, "198.51.100.1"},
		{"trusted, says nothing", proxies{inner, true}, "@", nil, "unix:"},
		{"trusted, nonsense", proxies{inner, true}, "@", http.Header{"X-Forwarded-For": {"unknown"}}, "unix:"},
		{"trusted, both headers differ", proxies{inner, true}, "@", http.Header{"X-Forwarded-For": {"203.0.113.1"}, "Forwarded": {"for=198.51.100.1"}}, "unix:"},
		{"not trusted", proxies{inner, false}, "@", forwarded, "unix:"},
		{"not trusted, with the name of who is", proxies{inner, false}, "10.0.0.1:80", forwarded, "unix:"},
	} {
		if got := tt.trusted.client(true, tt.remote, tt.header); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
