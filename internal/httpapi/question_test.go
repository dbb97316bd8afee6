package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

func questionServer(t *testing.T) *Server {
	reader := shopstest.New()
	reader.SetRegion(shops.Region{Name: "us-east1", Open: true})
	reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 10, Open: true})
	reader.SetShop("42", "ash1")
	reader.SetBadCitizens("fraud", "192.0.2.1\n")
	return serverOf(t, reader)
}

// TestAskWithoutHTTP: whoever asks a handler gets the answer that HTTP gives, whether it is
// composed, shared or a problem.
func TestAskWithoutHTTP(t *testing.T) {
	s := questionServer(t)
	var a answer
	for _, tt := range []struct {
		target string
		handle handler
		q      question
	}{
		{"/v1/shops/42", s.getShop, question{name: "42"}},
		{"/v1/shops/43", s.getShop, question{name: "43"}},
		{"/v1/placement?shop=new", s.getPlacement, question{query: map[string][]string{"shop": {"new"}}}},
		{"/v1/placement", s.getPlacement, question{}},
		{"/v1/regions", s.getRegions, question{}},
		{"/v1/regions/us-east1", s.getRegion, question{name: "us-east1"}},
		{"/v1/datacenters", s.getDatacenters, question{}},
		{"/v1/datacenters/ash1", s.getDatacenter, question{name: "ash1"}},
		{"/v1/bad-citizens", s.getBadCitizens, question{}},
		{"/v1/bad-citizens/192.0.2.1", s.getBadCitizen, question{name: "192.0.2.1"}},
		{"/healthz", s.getHealth, question{}},
		{"/readyz", s.getReadiness, question{}},
		{"/openapi.json", s.getOpenAPI, question{}},
	} {
		a.reset(maxKeptBody)
		tt.q.ctx = t.Context()
		if err := tt.handle(&tt.q, &a); err != nil {
			s.explain(&a, err, "id")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.target, nil))
		if a.statusCode() != w.Code || string(a.bytes()) != w.Body.String() || a.contentType[0] != w.Header().Get("Content-Type") {
			t.Errorf("%s: %d %s %s\nHTTP: %d %v %s", tt.target, a.statusCode(), a.contentType, a.bytes(), w.Code, w.Header(), w.Body)
		}
		if tag := w.Header().Get("ETag"); a.ok() && tag != formatETag(a.hash) {
			t.Errorf("%s: hash %x, ETag %s", tt.target, a.hash, tag)
		}
		if a.rests != (w.Header().Get("X-Cache") != "") {
			t.Errorf("%s: rests on something: %v, X-Cache %q", tt.target, a.rests, w.Header().Get("X-Cache"))
		}
	}
}

// TestAskAllocatesNothing: a shop that is in memory costs no allocation, neither the
// handler's nor that of the sink of HTTP.
func TestAskAllocatesNothing(t *testing.T) {
	s := questionServer(t)
	q, a := question{ctx: context.Background(), name: "42"}, answer{}
	if n := alloctest.Fewest(func() {
		a.reset(maxKeptBody)
		if err := s.getShop(&q, &a); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("the handler: %d allocations", n)
	}

	r, err := http.NewRequestWithContext(s.http.ConnContext(t.Context(), nil), http.MethodGet, "/v1/shops/42", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &emptyWriter{header: http.Header{}}
	if n := alloctest.Fewest(func() {
		clear(w.header)
		s.ServeHTTP(w, r)
	}); n != 0 || w.status != http.StatusOK {
		t.Errorf("HTTP: %d allocations, status %d", n, w.status)
	}
}

// emptyWriter is a ResponseWriter that allocates nothing.
type emptyWriter struct {
	header http.Header
	status int
}

func (w *emptyWriter) Header() http.Header         { return w.header }
func (w *emptyWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *emptyWriter) WriteHeader(status int)      { w.status = status }

// TestAnswerKeepsNothing: reset gives back what was lent, and drops what is shared and what
// takes more memory than may be kept.
func TestAnswerKeepsNothing(t *testing.T) {
	var a answer
	freed := 0
	a.compose(contentJSON, make([]byte, 10, 100))
	a.rest(discovery.Basis{Meta: discovery.Meta{Zxid: 7}})
	a.reset(100)
	if cap(a.buf) != 100 || a.rests || a.body != nil {
		t.Errorf("after an answer: %+v", a)
	}
	a.lend(contentJSON, []byte("lent"), freeFunc(func() { freed++ }))
	if string(a.bytes()) != "lent" {
		t.Errorf("the body is %q", a.bytes())
	}
	a.reset(99)
	a.reset(99)
	if freed != 1 || a.buf != nil || a.body != nil {
		t.Errorf("freed %d times, left: %+v", freed, a)
	}
	a.share(contentJSON, healthyBody.hash, healthyBody)
	(&Server{}).explain(&a, badRequest("no"), "id")
	if a.kept != nil || a.ok() || a.hash != hashOf(a.body) {
		t.Errorf("after an error: %+v", a)
	}
}

type freeFunc func()

func (f freeFunc) free() { f() }
