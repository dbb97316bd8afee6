package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/services/servicestest"
)

// oddService is a name with what JSON, CSV and URLs treat specially, and with slashes.
const oddService = `caf` + "é" + `/"quoted", \ <b>&%2F`

// newMirror holds the instances that the golden files show.
func newMirror() *servicestest.Mirror {
	m := servicestest.New("curator:/services", "serverset:/svc", "nerve:/later")
	for id, rest := range map[string]string{
		"a1": `"address":"10.2.0.7","port":8080,"sslPort":null`,
		"a2": `"address":"10.2.0.8","port":8080,"sslPort":8443,"enabled":false`,
		"a3": `"address":"2001:db8::7","port":8080`,
		"a4": `"address":"cart.example","port":null,"sslPort":null,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"a4","name":"cart","metadata":{"zone":"b","weight":"3","instance_status":"UP","tags":"eu,blue"}}`,
		"a5": `"address":"10.2.0.9","port":8080,"payload":{"@class":"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"a5","name":"cart","metadata":{"zone":"c","instance_status":"DOWN"}}`,
	} {
		m.Set("/services/cart/"+id, fmt.Sprintf(`{"name":"cart","id":"%s",%s}`, id, rest))
	}
	m.Set("/services/"+oddService+"/x y", `{"id":"x, \"y\"","address":"10.2.0.7","port":1}`)
	m.Set("/services/both/1", `{"id":"same id","address":"10.2.0.7","port":1}`)
	m.Set("/services/both/2", `{"id":"same id","address":"10.2.0.7","port":2}`)
	m.Set("/services/empty/1", "")
	m.Delete("/services/empty/1")
	m.Set("/services/broken/1", "{broken")
	m.Set("/svc/web/prod/blog/member_1", `{"serviceEndpoint":{"host":"10.3.0.1","port":8080},"additionalEndpoints":{"admin":{"host":"10.3.0.1","port":9990}},"status":"ALIVE","shard":3}`)
	m.Set("/svc/both/member_1", `{"serviceEndpoint":{"host":"10.3.0.2","port":8080},"additionalEndpoints":{},"status":"STARTING"}`)
	return m
}

// TestServiceAllocatesNothing: a service that is in memory costs no allocation, although its answer is
// so long that magellan has to say how long.
func TestServiceAllocatesNothing(t *testing.T) {
	handler := benchServices(t).Handler()
	if n := len(bodyOf(t, handler, benchService)); n < 4000 {
		t.Fatalf("the answer has %d bytes only", n)
	}
	request, err := http.NewRequestWithContext(httpapi.ConnContext(t.Context(), handler), http.MethodGet, benchService, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &discardWriter{header: http.Header{}}
	if n := alloctest.Fewest(func() {
		clear(w.header)
		handler.ServeHTTP(w, request)
	}); n != 0 {
		t.Errorf("an answer allocates %v times", n)
	}
	if w.status != http.StatusOK {
		t.Errorf("status %d", w.status)
	}
}

// TestServiceProblems: what is asked wrongly, and what cannot be answered.
func TestServiceProblems(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		target string
		status int
		want   string
	}{
		{"/v1/services/none", http.StatusNotFound, `service \"none\": not found`},
		{"/v1/services/cart?mount=/later", http.StatusNotFound, "not found"},
		{"/v1/services/web/prod", http.StatusNotFound, "not found"},
		{"/v1/services/cart?mount=/nope", http.StatusBadRequest, "no such mount"},
		{"/v1/services?mount=/nope", http.StatusBadRequest, "no such mount"},
		{"/v1/services/cart?mount=/a&mount=/b", http.StatusBadRequest, "want it once"},
		{"/v1/services/cart?status=sleepy", http.StatusBadRequest, "no status"},
		{"/v1/services/cart?format=yaml", http.StatusBadRequest, "none of json, text, nginx, haproxy, csv"},
		{"/v1/services/cart?tags=x", http.StatusBadRequest, "unknown query parameter"},
		{"/v1/services/a%2F%2Fb", http.StatusBadRequest, "invalid-name"},
		{"/v1/services/a%00b", http.StatusBadRequest, "control character"},
		{"/v1/services/..", http.StatusBadRequest, "relative"},
		{"/v1/services/" + strings.Repeat("x", 300), http.StatusNotFound, "not-found"}, // as Dubbo's
		{"/v1/services/" + strings.Repeat("x", 300) + "%00", http.StatusBadRequest, "control character"},
		{"/v1/services/broken", http.StatusServiceUnavailable, "unread-record"},
		{"/v1/sd/prometheus?mount=/services", http.StatusServiceUnavailable, "none of its 1 records can be read"},
		{"/v1/sd/prometheus?mount=/later", http.StatusServiceUnavailable, "does not exist"},
		{"/v1/sd/prometheus?mount=/nope", http.StatusBadRequest, "no such mount"},
		{"/v1/services/a//b", http.StatusNotFound, "no-such-route"},
		{"/v1/services/", http.StatusNotFound, "no-such-route"},
		{"/v1/shops/42/x", http.StatusNotFound, "no-such-route"},
	} {
		a := w.get(tt.target)
		if a.StatusCode != tt.status || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s: %d %s, want %d and %s", tt.target, a.StatusCode, a.body, tt.status, tt.want)
		}
	}
	w.mirror.SetErr("/svc", fmt.Errorf("%w: no session", discovery.ErrUnavailable))
	for _, target := range []string{"/v1/services", "/v1/services/none", "/v1/services/cart?format=nginx", "/v1/sd/prometheus"} {
		if a := w.get(target); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s although a mount is away", target, a.StatusCode, a.body)
		}
	}
	if a := w.get("/v1/services/cart?mount=/services"); a.StatusCode != http.StatusOK {
		t.Errorf("cart in the mount that is there: %d %s", a.StatusCode, a.body)
	}
	many := `{"services":[` + strings.Repeat(`"cart",`, 1000) + `"cart"]}`
	if a := w.do("POST", "/v1/services/lookup", many); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a lookup of 1001 services: %d %s", a.StatusCode, a.body)
	}
}

// TestServed: a server without shops, or without services, says so.
func TestServed(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Services = nil })
	for _, target := range []string{"/v1/services", "/v1/services/cart"} {
		if a := w.get(target); a.StatusCode != http.StatusNotImplemented || !strings.Contains(a.body, "not-served") {
			t.Errorf("%s of a server without services: %d %s", target, a.StatusCode, a.body)
		}
	}
	if a := w.get("/v1/watch?service=cart"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a stream of services: %d %s", a.StatusCode, a.body)
	}
	w = newWorld(t, func(cfg *httpapi.Config) { cfg.Service = nil })
	for _, target := range []string{"/v1/shops/42", "/v1/regions", "/v1/placement?shop=x", "/v1/bad-citizens"} {
		if a := w.get(target); a.StatusCode != http.StatusNotImplemented || !strings.Contains(a.body, "not-served") {
			t.Errorf("%s of a server without shops: %d %s", target, a.StatusCode, a.body)
		}
	}
	if a := w.get("/v1/watch?shop=42"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a stream of shops: %d %s", a.StatusCode, a.body)
	}
	c := w.watch("service=web/prod/blog&service=new&services", "")
	for range 3 {
		c.expectAnswer("snapshot")
	}
	c.expect("synced")
	w.mirror.Set("/later/new/i_1", `{"host":"10.9.9.9","port":1}`)
	created, listed := c.expectAnswer("change"), c.expectAnswer("change")
	if both := created + listed; !strings.Contains(both, "10.9.9.9") || !strings.Contains(both, `"mount":"/later"`) {
		t.Errorf("after a service has come: %s", both)
	}
	w.mirror.Delete("/svc/web/prod/blog/member_1")
	first, second := c.expectAnswer("change"), c.expectAnswer("change")
	if both := first + second; !strings.Contains(both, `"instances":[]`) || !strings.Contains(both, `"services":[`) {
		t.Errorf("after a change: %s", both)
	}
}
