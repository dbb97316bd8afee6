package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestTrustedProxies: which proxies --trusted-proxies trusts. A prefix that no client can
// match is refused.
func TestTrustedProxies(t *testing.T) {
	for _, tt := range []struct{ listen, text, want, says string }{
		{":8080", "10.1.2.3/8 192.0.2.1 2001:db8::1 2001:db8::1/32", "[10.0.0.0/8 192.0.2.1/32 2001:db8::1/128 2001:db8::/32] false", ""},
		{":8080", "::ffff:10.0.0.0/104 ::ffff:192.0.2.1 ::ffff:0.0.0.0/96", "[10.0.0.0/8 192.0.2.1/32 0.0.0.0/0] false", ""},
		{"unix:/run/magellan.sock", "unix 10.0.0.0/8", "[10.0.0.0/8] true", ""},
		{":8080", "::ffff:0.0.0.0/95", "", "more than the IPv4-mapped"},
		{":8080", "unix", "", "--listen=unix:PATH"},
		{":8080", "fe80::1%eth0", "", "neither an address"},
		{":8080", "proxy.example", "", "neither an address"},
	} {
		c := &serveCommand{Listen: tt.listen, TrustedProxies: strings.Fields(tt.text)}
		proxies, unix, err := c.trustedProxies()
		switch {
		case tt.says != "":
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%s: %v, %v, %v; want an error that says %q", tt.text, proxies, unix, err, tt.says)
			}
		case err != nil || fmt.Sprint(proxies, unix) != tt.want:
			t.Errorf("%s: %v %v, %v; want %s", tt.text, proxies, unix, err, tt.want)
		}
	}
}
