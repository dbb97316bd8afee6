package httpapi

import (
	"net/http"
	"strings"
	"testing"
)

func TestRequestID(t *testing.T) {
	for id, want := range map[string]bool{
		"7b4f-22_a.b:c/d+e=f@g~h": true,
		strings.Repeat("a", 128):  true,
		strings.Repeat("a", 129):  false,
		"":                        false,
		"a b":                     false,
		"a\nb":                    false,
		`a"b`:                     false,
		"é":                       false,
	} {
		if got := saneRequestID(id); got != want {
			t.Errorf("%q: %v", id, got)
		}
	}
	x := newExchange(&Server{}, nil)
	seen := make(map[string]bool)
	for range 1000 {
		id := strings.Clone(x.requestIDOf(&http.Request{Header: http.Header{}})[0])
		if seen[id] || len(id) != 16 {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
	if two := x.requestIDOf(&http.Request{Header: http.Header{"X-Request-Id": {"a", "b"}}})[0]; len(two) != 16 {
		t.Errorf("of two ids %q was taken", two)
	}
}
