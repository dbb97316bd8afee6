package services

import (
	"strings"
	"testing"
)

func TestParseHostPort(t *testing.T) {
	for _, test := range []struct{ in, want, wantColonPort string }{
		{"h1:80", "h1:80", "h1:80"},
		{"h1", "h1", "h1"},
		{"h1.example.com.:80", "h1.example.com.:80", "h1.example.com.:80"},
		{"my_host:80", "my_host:80", "my_host:80"},
		{"10.2.0.7:80", "10.2.0.7:80", "10.2.0.7:80"},
		{"[2001:DB8::1]:80", "[2001:db8::1]:80", "[2001:db8::1]:80"},
		{"[2001:db8::1]", "2001:db8::1", "2001:db8::1"},
		{"2001:db8:0:0:0:0:0:1", "2001:db8::1", ""},
		{"2001:db8:0:0:0:0:0:1:80", "", "[2001:db8::1]:80"},
		{"::1:80", "::1:80", "[::1]:80"},
		{"[::ffff:10.2.0.7]:80", "10.2.0.7:80", "10.2.0.7:80"},
		{"h1:0", "h1", "h1"},
		{"h1:-1", "h1", "h1"},
		{"h1:65535", "h1:65535", "h1:65535"},
		{"h1:65536", "", ""},
		{"h1:+1", "", ""},
		{"h1: 1", "", ""},
		{"h1:", "", ""},
		{":80", "", ""},
		{"", "", ""},
		{":", "", ""},
		{"[]:80", "", ""},
		{"[h1]:80", "", ""},
		{"[10.2.0.7]:80", "", ""},
		{"[::1", "", ""},
		{"[::1]80", "", ""},
		{"[::1]]:80", "", ""},
		{"fe80::1%eth0", "", ""},
		{"[fe80::1%eth0]:80", "", ""},
		{"1.2.3:80", "", ""},
		{"123:80", "", ""},
		{".:80", "", ""},
		{"a..b:80", "", ""},
		{".a:80", "", ""},
		{"-a:80", "", ""},
		{"a b:80", "", ""},
		{"a\u00a0b:80", "", ""},
		{"a/b:80", "", ""},
		{"a@b:80", "", ""},
		{"a\x7f:80", "", ""},
		{"a\u0085:80", "", ""},
		{"a\u202e:80", "", ""},
		{"a\ufffd:80", "", ""},
		{"a\xff:80", "", ""},
		{"bücher.example:80", "bücher.example:80", "bücher.example:80"},
		{"日本.example:80", "日本.example:80", "日本.example:80"},
		{strings.Repeat("a", 253) + ":80", strings.Repeat("a", 253) + ":80", strings.Repeat("a", 253) + ":80"},
		{strings.Repeat("a", 254) + ":80", "", ""},
	} {
		for _, parser := range []struct {
			name  string
			parse func(string) (Endpoint, error)
			want  string
		}{
			{"parseHostPort", parseHostPort, test.want},
			{"parseHostColonPort", parseHostColonPort, test.wantColonPort},
		} {
			e, err := parser.parse(test.in)
			switch {
			case parser.want == "" && err == nil:
				t.Errorf("%s(%q) = %+v, want an error", parser.name, test.in, e)
			case parser.want == "" && e != (Endpoint{}):
				t.Errorf("%s(%q) = %+v beside the error %v", parser.name, test.in, e, err)
			case parser.want != "" && err != nil:
				t.Errorf("%s(%q): %v", parser.name, test.in, err)
			case parser.want != "" && hostPort(e) != parser.want:
				t.Errorf("%s(%q) = %s, want %s", parser.name, test.in, hostPort(e), parser.want)
			}
		}
	}
}

func TestEscapeJava(t *testing.T) {
	// What java.net.URLEncoder does to each of these.
	const in, want = "aZ09.-*_~ $/:?&=%+ü", "aZ09.-*_%7E+%24%2F%3A%3F%26%3D%25%2B%C3%BC"
	if got := escapeJava(in); got != want {
		t.Errorf("escapeJava(%q) = %q, want %q", in, got, want)
	}
}
