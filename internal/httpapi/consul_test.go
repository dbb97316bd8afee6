package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
)

// indexOf returns the index of an answer.
func indexOf(t *testing.T, a answer) uint64 {
	t.Helper()
	index, err := strconv.ParseUint(a.Header.Get("X-Consul-Index"), 10, 64)
	if a.StatusCode != http.StatusOK || err != nil || index == 0 {
		t.Fatalf("%d %s, X-Consul-Index %q", a.StatusCode, a.body, a.Header.Get("X-Consul-Index"))
	}
	return index
}

// TestConsulLists: the answers about all services, which there are not as long as nothing is known of
// one of them.
func TestConsulLists(t *testing.T) {
	w := newWorld(t, nil)
	targets := map[string]string{
		"/v1/catalog/services":      "consul-services.json",
		"/v1/health/state/any":      "consul-any.json",
		"/v1/health/state/critical": "consul-critical.json",
	}
	for target := range targets {
		if a := w.get(target); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "broken") || a.Header.Get("X-Consul-Index") != "" {
			t.Errorf("%s although nothing is known of a service: %d %s", target, a.StatusCode, a.body)
		}
	}
	w.mirror.Delete("/services/broken/1")
	for target, file := range targets {
		a := w.get(target)
		indexOf(t, a)
		golden(t, file, a.body)
	}
}

// TestConsulHeader: what clients of Consul read of the header.
func TestConsulHeader(t *testing.T) {
	w := newWorld(t, nil)
	zxid := w.mirror.Set("/svc/web/prod/blog/member_2", `{"serviceEndpoint":{"host":"10.3.0.2","port":80},"additionalEndpoints":{},"status":"ALIVE"}`)
	a := w.get("/v1/health/service/web/prod/blog")
	if a.Header.Get("X-Consul-Knownleader") != "true" || a.Header.Get("X-Consul-Lastcontact") != "0" || indexOf(t, a) < uint64(zxid)<<8 {
		t.Errorf("of transaction %d: %v", zxid, a.Header)
	}
	w.mirror.SetMeta("/svc", 1500*time.Millisecond, discovery.Stale)
	a = w.get("/v1/health/service/web/prod/blog")
	if a.Header.Get("X-Consul-Knownleader") != "false" || a.Header.Get("X-Consul-Lastcontact") != "1500" {
		t.Errorf("a stale answer: %v", a.Header)
	}
}

// TestConsulWaits: a client that has an index gets an answer once there is a greater one, or the same
// at the end of its wait.
func TestConsulWaits(t *testing.T) {
	put := func(b *bubble, path, host string) {
		b.mirror.Set(path, fmt.Sprintf(`{"id":"9","address":"%s","port":1}`, host))
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, nil)
		b.mirror.Delete("/services/broken/1")
		for _, tt := range []struct {
			target string
			change func()
			want   string
		}{
			{"/v1/health/service/cart?passing=1&", func() { put(b, "/services/cart/a9", "10.9.9.9") }, "10.9.9.9"},
			{"/v1/health/service/cart?tag=blue&", func() { b.mirror.Delete("/services/cart/a4") }, "[]\n"},
			{"/v1/catalog/service/new?", func() { put(b, "/services/new/1", "10.9.9.8") }, "10.9.9.8"},
			{"/v1/catalog/service/new?", func() { b.mirror.DeleteDirectory("/services/new") }, "[]\n"},
			{"/v1/catalog/services?", func() { put(b, "/services/new/1", "10.9.9.8") }, `"new":[]`},
			{"/v1/health/state/any?", func() { put(b, "/services/new/1", "10.9.9.7") }, "10.9.9.7"},
			{"/v1/health/service/web/prod/blog?", func() { b.mirror.DeleteDirectory("/svc") }, "[]\n"},
		} {
			first := indexOf(t, b.ask(t.Context(), tt.target))
			answers := make(chan answer, 1)
			go func() { answers <- b.ask(t.Context(), tt.target+"wait=4m&index="+fmt.Sprint(first)) }()
			synctest.Wait()
			put(b, "/services/elsewhere/1", "10.8.8.8") // only the lists change
			if strings.Contains(tt.target, "/service/") {
				synctest.Wait()
				select {
				case a := <-answers:
					t.Errorf("%s was answered without a change: %s", tt.target, a.body)
					continue
				default:
				}
			} else {
				<-answers
				first = indexOf(t, b.ask(t.Context(), tt.target))
				go func() { answers <- b.ask(t.Context(), tt.target+"index="+fmt.Sprint(first)) }()
				synctest.Wait()
			}
			began := time.Now()
			tt.change()
			a := <-answers
			if now := indexOf(t, a); now <= first || !strings.Contains(a.body, tt.want) || time.Since(began) != 0 {
				t.Errorf("%s: index %d after %d and %v: %s, want %q", tt.target, now, first, time.Since(began), a.body, tt.want)
			}
			b.mirror.DeleteDirectory("/services/elsewhere")
		}
		// What the client does not get has changed: the same body, at the end of the wait.
		first, began := indexOf(t, b.ask(t.Context(), "/v1/health/service/cart?tag=nobody")), time.Now()
		time.AfterFunc(time.Second, func() { b.mirror.Delete("/services/cart/a9") })
		if a := b.ask(t.Context(), fmt.Sprintf("/v1/health/service/cart?tag=nobody&wait=100s&index=%d", first)); indexOf(t, a) <= first || time.Since(began) < 90*time.Second {
			t.Errorf("index %d after %d, in %v: %s", indexOf(t, a), first, time.Since(began), a.body)
		}
		for _, above := range []uint64{0, 1 << 20} { // another replica may know more
			first := b.ask(t.Context(), "/v1/health/service/cart")
			began := time.Now()
			a := b.ask(t.Context(), fmt.Sprintf("/v1/health/service/cart?index=%d&wait=100s", indexOf(t, first)+above))
			if indexOf(t, a) != indexOf(t, first) || a.body != first.body || a.Header.Get("Preference-Applied") != "" {
				t.Errorf("after the wait: %v %s", a.Header, a.body)
			}
			if waited := time.Since(began); waited < 90*time.Second || waited > 100*time.Second {
				t.Errorf("it waited for %v", waited)
			}
		}
	})
}

// TestConsulProblems: what is asked wrongly.
func TestConsulProblems(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		target string
		status int
		want   string
	}{
		{"/v1/health/service/cart?dc=dc2", http.StatusBadRequest, "No path to datacenter"},
		{"/v1/health/service/cart?ns=team", http.StatusBadRequest, "none but the default"},
		{"/v1/health/service/cart?partition=a", http.StatusBadRequest, "none but the default"},
		{"/v1/health/service/cart?filter=x", http.StatusBadRequest, "does not do this"},
		{"/v1/health/service/cart?node-meta=a:b", http.StatusBadRequest, "does not do this"},
		{"/v1/health/service/cart?recurse", http.StatusBadRequest, "unknown query parameter"},
		{"/v1/health/service/cart?passing=maybe", http.StatusBadRequest, "true or false"},
		{"/v1/health/service/cart?index=-1", http.StatusBadRequest, "decimal number"},
		{"/v1/health/service/cart?wait=10", http.StatusBadRequest, "want a duration"},
		{"/v1/health/service/cart?stale&consistent", http.StatusBadRequest, "exclude each other"},
		{"/v1/health/service/a//b", http.StatusNotFound, "no-such-route"},
		{"/v1/health/service/..", http.StatusBadRequest, "relative"},
		{"/v1/health/state/sleepy", http.StatusBadRequest, "any, passing, warning, critical"},
		{"/v1/health/state/any/x", http.StatusNotFound, "no-such-route"},
		{"/v1/health/service/broken", http.StatusServiceUnavailable, "unread-record"},
		{"/v1/catalog/service/broken", http.StatusServiceUnavailable, "unread-record"},
		{"/v1/agent/self?dc=x", http.StatusBadRequest, "consul-datacenter"},
	} {
		a := w.get(tt.target)
		if a.StatusCode != tt.status || !strings.Contains(a.body, tt.want) || a.Header.Get("X-Consul-Index") != "" {
			t.Errorf("%s: %d %s, want %d and %s", tt.target, a.StatusCode, a.body, tt.status, tt.want)
		}
	}
	w = newWorld(t, func(cfg *httpapi.Config) { cfg.Services = nil })
	if a := w.get("/v1/health/service/cart"); a.StatusCode != http.StatusNotImplemented {
		t.Errorf("without services: %d %s", a.StatusCode, a.body)
	}
}

// TestEnvoy: what Envoy must not get, and what it need not get again.
func TestEnvoy(t *testing.T) {
	w := newWorld(t, nil)
	const target = "/v3/discovery:endpoints"
	for _, tt := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"resource_names":["cart","broken"]}`, http.StatusServiceUnavailable, "unread-record"},
		{`{"resource_names":["a//b"]}`, http.StatusBadRequest, "invalid-name"},
		{`{"resource_names":[]}`, http.StatusBadRequest, "resource_names is empty"},
		{`{}`, http.StatusBadRequest, "resource_names is empty"},
		{`{"resource_names":"cart"}`, http.StatusBadRequest, "no DiscoveryRequest"},
		{`{"resource_names":["cart"],"type_url":"type.googleapis.com/envoy.config.cluster.v3.Cluster"}`, http.StatusBadRequest, "ClusterLoadAssignment"},
		{`{"resource_names":[` + manyNames(1001) + `]}`, http.StatusRequestEntityTooLarge, "1000"},
		{`nonsense`, http.StatusBadRequest, "no DiscoveryRequest"},
	} {
		if a := w.do("POST", target, tt.body); a.StatusCode != tt.status || !strings.Contains(a.body, tt.want) {
			t.Errorf("%.100s: %d %s, want %d and %s", tt.body, a.StatusCode, a.body, tt.status, tt.want)
		}
	}
	w.mirror.Set("/services/names/1", `{"id":"1","address":"cart.example","port":80}`)
	if a := w.do("POST", target, `{"resource_names":["names"]}`); a.StatusCode != http.StatusBadGateway || !strings.Contains(a.body, "cart.example:80") {
		t.Errorf("a service of host names only: %d %s", a.StatusCode, a.body)
	}
	if a := w.do("POST", target, `{"resource_names":["cart","both","cart"],"resourceNames":["both"]}`); strings.Count(a.body, "cluster_name") != 2 {
		t.Errorf("names that are asked for twice: %s", a.body)
	}
	ask := func(version string) (status int, now string) {
		t.Helper()
		a := w.do("POST", target, fmt.Sprintf(`{"version_info":%q,"resource_names":["cart","both"]}`, version))
		var body struct {
			Version string `json:"version_info"`
		}
		if a.StatusCode == http.StatusOK {
			if err := json.Unmarshal([]byte(a.body), &body); err != nil {
				t.Fatal(err)
			}
		}
		return a.StatusCode, body.Version
	}
	_, first := ask("")
	if status, _ := ask(first); status != http.StatusNotModified {
		t.Errorf("the version that it has: %d, want 304", status)
	}
	w.mirror.Set("/services/other/1", `{"id":"1","address":"10.1.1.1","port":80}`)
	if status, _ := ask(first); status != http.StatusNotModified {
		t.Errorf("after a change elsewhere: %d, want 304", status)
	}
	w.mirror.Set("/services/cart/a1", `{"id":"a1","address":"10.1.1.1","port":80}`)
	if status, second := ask(first); status != http.StatusOK || second == first {
		t.Errorf("after a change: %d, version %s, before it was %s", status, second, first)
	}
}

// manyNames are so many names in JSON.
func manyNames(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"s%d"`, i))
	}
	return strings.Join(all, ",")
}
