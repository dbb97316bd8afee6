package httpapi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"magellan/internal/shops/shopstest"
)

// TestBodiesOfOtherFormats: once the list has changed, a request in one format has the
// bodies of all formats dropped, and a format's versions go on from where they were.
func TestBodiesOfOtherFormats(t *testing.T) {
	reader := shopstest.New()
	s := serverOf(t, reader)
	ask := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v1/bad-citizens?"+query, nil))
		return w
	}
	held := func(want string) {
		t.Helper()
		var names []string
		for i := range s.badCitizens {
			if e := s.badCitizens[i].current; e != nil && e.bodyOf != nil {
				names = append(names, badCitizensFormats[i].name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("bodies in memory: %s; want %s", got, want)
		}
	}
	reader.SetBadCitizens("fraud", "192.0.2.1\n")
	was := ask("format=json").Header().Get("Etag")
	ask("format=nginx")
	held("json nginx")
	ask("format=json")
	held("json nginx")
	reader.SetBadCitizens("fraud", "192.0.2.1\n192.0.2.2\n")
	ask("format=text")
	held("text")
	if a := ask("format=json&since=" + strings.Trim(was, `"`)); a.Header().Get("Delta-Base") != was || !strings.Contains(a.Body.String(), "192.0.2.2") {
		t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
	}
	if a := ask("format=json"); a.Header().Get("Etag") == was || strings.Count(a.Body.String(), "192.0.2.") != 2 {
		t.Errorf("%d %v %s", a.Code, a.Header(), a.Body)
	}
	held("json text")
}
