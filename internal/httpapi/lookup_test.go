package httpapi

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// FuzzLookupBody holds the reading of lookups against encoding/json: what is
// accepted means the same to both, and what is refused is the client's mistake.
func FuzzLookupBody(f *testing.F) {
	for _, s := range []string{
		`{"shops":["42","43"]}`, `{"shops":[]}`, ` { "a" : [ 1 , { } ] , "shops" : [ "\u00e9\ud83d\ude00" ] } `,
		`{}`, `[]`, ``, `{"shops":null}`, `{"shops":["a",1]}`, `{"shops":["a"]}x`, `{"shops":["\ud800"]}`, "{\"shops\":[\"\xff\"]}",
		`{"shops":["a"],"shops":[]}`, `{"shops":{"shops":["a"]}}`, `{"SHOPS":["a"]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		l := lookups.Get().(*lookup)
		defer l.free()
		l.request.Reset()
		l.request.Write(body)
		if err := l.parse("shops", maxLookupShops); err != nil {
			var ours *requestError
			if !errors.As(err, &ours) || ours.detail == "" {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		// encoding/json would take "SHOPS" for "shops".
		members := make(map[string]json.RawMessage)
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q was accepted: %v", body, err)
		}
		var want []string
		if err := json.Unmarshal(members["shops"], &want); err != nil {
			t.Fatalf("%q was accepted: %v", body, err)
		}
		if !slices.Equal(l.names, want) {
			t.Fatalf("%q: got %q, want %q", body, l.names, want)
		}
	})
}

// TestLookupKeepsNothing: the next lookup sees nothing of the one before.
func TestLookupKeepsNothing(t *testing.T) {
	var l lookup
	for _, body := range []string{`{"shops":["a","b","c"]}`, `{"shops":[1`, `{"shops":["d"]}`} {
		l.request.Reset()
		l.request.WriteString(body)
		err := l.parse("shops", maxLookupShops)
		if strings.HasSuffix(body, "1") != (err != nil) {
			t.Fatalf("%s: %v", body, err)
		}
	}
	if !slices.Equal(l.names, []string{"d"}) {
		t.Errorf("%q", l.names)
	}
	l.free()
	if l.names[0] != "" {
		t.Errorf("the pool keeps %q", l.names)
	}
}
