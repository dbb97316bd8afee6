package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// TestAnswers holds the good answers of every route against golden files.
func TestAnswers(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.SetShop(oddShop, "ash1")
	w.reader.SetShopErr("bad", discovery.ErrBadData) // as the cache has it
	w.reader.SetShopErr("away", fmt.Errorf("%w: no session", discovery.ErrUnavailable))
	for _, tt := range []struct {
		golden, method, target, body string
	}{
		{"shop.json", "GET", "/v1/shops/42", ""},
		{"shop-odd.json", "GET", "/v1/shops/" + url.PathEscape(oddShop), ""},
		{"shop-lookup.json", "GET", "/v1/shops/lookup", ""},
		{"shop-percent.json", "GET", "/v1/shops/%252F", ""}, // decoded once
		{"shop.json", "GET", "/v1/shops/%34%32", ""},
		{"shop.json", "GET", "/v1/shops/42?", ""},
		{"lookup.json", "POST", "/v1/shops/lookup", `{"shops":["42","nope","lost","away","","a/b","42"]}`},
		{"lookup-empty.json", "POST", "/v1/shops/lookup", `{"shops":[]}`},
		{"lookup-empty.json", "POST", "/v1/shops/lookup", ` {"other":{"shops":[1]}, "shops":[ ] , "more":null} `},
		{"lookup-odd.json", "POST", "/v1/shops/lookup", `{"sh\u006fps":["\u0034\u0032","caf\u00e9 \"quoted\" \\ <b>&%2F \u2028\ud83d\ude00"]}`},
		{"placement.json", "GET", "/v1/placement?shop=new", ""},
		{"placement-least-loaded.json", "GET", "/v1/placement?shop=new&policy=least-loaded", ""},
		{"placement-exclude.json", "GET", "/v1/placement?shop=new&exclude=eu-west1", ""},
		{"placement-prefer.json", "GET", "/v1/placement?shop=new&prefer=ash1&prefer=bom1", ""},
		{"regions.json", "GET", "/v1/regions", ""},
		{"region.json", "GET", "/v1/regions/us-east1", ""},
		{"datacenters.json", "GET", "/v1/datacenters", ""},
		{"datacenter.json", "GET", "/v1/datacenters/dub2", ""},
		{"bad-citizens.json", "GET", "/v1/bad-citizens", ""},
		{"bad-citizens.json", "GET", "/v1/bad-citizens?format=json", ""},
		{"bad-citizens.txt", "GET", "/v1/bad-citizens?format=text", ""},
		{"bad-citizens.nginx", "GET", "/v1/bad-citizens?format=nginx", ""},
		{"bad-citizens.ipset", "GET", "/v1/bad-citizens?format=ipset", ""},
		{"bad-citizen.json", "GET", "/v1/bad-citizens/203.0.113.9", ""},
		{"bad-citizen-longest.json", "GET", "/v1/bad-citizens/203.0.113.7", ""},
		{"bad-citizen-v6.json", "GET", "/v1/bad-citizens/2001:db8::7", ""},
		{"bad-citizen-mapped.json", "GET", "/v1/bad-citizens/::ffff:203.0.113.7", ""},
		{"services.json", "GET", "/v1/services", ""},
		{"services-mount.json", "GET", "/v1/services?mount=/svc", ""},
		{"service.json", "GET", "/v1/services/cart", ""},
		{"service.json", "GET", "/v1/services/cart?mount=curator:/services", ""},
		{"service.json", "GET", "/v1/services/cart?format=json", ""},
		{"service-blue.json", "GET", "/v1/services/cart?tag=blue&tag=eu", ""},
		{"consul-blue.json", "GET", "/v1/catalog/service/cart?tag=blue", ""},
		{"service-tag.json", "GET", "/v1/services/cart?status=up&status=down&zone=b&zone=c", ""},
		{"service-none.json", "GET", "/v1/services/cart?tag=nobody&tag=blue", ""},
		{"service-deep.json", "GET", "/v1/services/web/prod/blog", ""},
		{"service-deep.json", "GET", "/v1/services/web%2Fprod%2Fblog", ""},
		{"service-odd.json", "GET", "/v1/services/" + url.PathEscape(oddService), ""},
		{"service-both.json", "GET", "/v1/services/both", ""},
		{"service-empty.json", "GET", "/v1/services/empty", ""},
		{"service.txt", "GET", "/v1/services/cart?format=text", ""},
		{"service-down.txt", "GET", "/v1/services/cart?format=text&status=DOWN&status=OUT_OF_SERVICE", ""},
		{"service.nginx", "GET", "/v1/services/cart?format=nginx", ""},
		{"service-empty.nginx", "GET", "/v1/services/empty?format=nginx", ""},
		{"service.haproxy", "GET", "/v1/services/cart?format=haproxy", ""},
		{"service-both.haproxy", "GET", "/v1/services/both?format=haproxy", ""},
		{"service.csv", "GET", "/v1/services/cart?format=csv", ""},
		{"service-odd.csv", "GET", "/v1/services/" + url.PathEscape(oddService) + "?format=csv", ""},
		{"service-lookup.json", "POST", "/v1/services/lookup", `{"services":["cart","none","web/prod/blog","a//b","empty","broken"]}`},
		{"service-lookup-up.json", "POST", "/v1/services/lookup?status=UP&mount=/services", `{"services":["cart","both"]}`},
		{"prometheus.json", "GET", "/v1/sd/prometheus?service=cart&service=web/prod/blog&service=both", ""},
		{"prometheus-up.json", "GET", "/v1/sd/prometheus?mount=/svc&status=UP", ""},
		{"consul-self.json", "GET", "/v1/agent/self?dc=dc1&ns=default&partition=&stale&token=x&pretty", ""},
		{"consul-health.json", "GET", "/v1/health/service/cart", ""},
		{"consul-health-up.json", "GET", "/v1/health/service/cart?passing=1&stale=&near=_agent&wait=5s&dc=DC1&filter=&merge-central-config", ""},
		{"consul-health-up.json", "GET", "/v1/health/service/cart?passing", ""},
		{"consul-health.json", "GET", "/v1/health/service/cart?passing=false&consistent", ""},
		{"consul-health-deep.json", "GET", "/v1/health/service/web/prod/blog", ""},
		{"consul-health-odd.json", "GET", "/v1/health/service/" + url.PathEscape(oddService), ""},
		{"consul-none.json", "GET", "/v1/health/service/empty", ""},
		{"consul-none.json", "GET", "/v1/health/service/never?index=0", ""},
		{"consul-none.json", "GET", "/v1/health/service/cart?tag=nobody", ""},
		{"consul-none.json", "GET", "/v1/catalog/service/never", ""},
		{"consul-service.json", "GET", "/v1/catalog/service/both", ""},
		{"envoy.json", "POST", "/v3/discovery:endpoints", `{"version_info":"","node":{"id":"n"},"resource_names":["cart","web/prod/blog","never","both"],"type_url":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"}`},
		{"envoy-one.json", "POST", "/v3/discovery:endpoints", `{"versionInfo":"0x2","resourceNames":["empty"],"typeUrl":null}`},
		{"znode.json", "GET", "/v1/znodes/services/cart?view=json", ""},
		{"znode.json", "GET", "/v1/znodes/services%2Fcart?view=json", ""},
		{"znode-odd.json", "GET", "/v1/znodes/odd/" + url.PathEscape(oddZnode) + "?view=json", ""},
		{"znode-null.json", "GET", "/v1/znodes/services?view=json", ""},
		{"znode.txt", "GET", "/v1/znodes/services/cart", ""},
		{"znode.txt", "GET", "/v1/znodes/services/cart?view=data", ""},
		{"gateway.json", "GET", "/znodes/v1/services/cart", ""},
		{"gateway-utf8.json", "GET", "/znodes/v1/services/cart?dataformat=utf8&view=data", ""},
		{"gateway-null.json", "GET", "/znodes/v1/services?view=whatever&dataformat=utf8", ""},
		{"gateway-children.json", "GET", "/znodes/v1/odd?view=children", ""},
		{"gateway-leaf.json", "GET", "/znodes/v1/odd/binary?view=children&dataformat=utf8", ""},
		{"gateway-odd.json", "GET", "/znodes/v1/odd/" + url.PathEscape(oddZnode) + "?dataformat=utf8", ""},
		{"gateway-binary.json", "GET", "/znodes/v1/odd/binary?dataformat=utf8", ""},
		{"healthz.json", "GET", "/healthz", ""},
		{"readyz.json", "GET", "/readyz", ""},
	} {
		t.Run(strings.TrimPrefix(tt.target, "/"), func(t *testing.T) {
			a := w.do(tt.method, tt.target, tt.body)
			if a.StatusCode != http.StatusOK {
				t.Fatalf("status %d: %s", a.StatusCode, a.body)
			}
			golden(t, tt.golden, strings.ReplaceAll(a.body, w.addr, "magellan"))
			if isJSON := a.Header.Get("Content-Type") == "application/json"; isJSON != json.Valid([]byte(a.body)) {
				t.Errorf("Content-Type %q of %s", a.Header.Get("Content-Type"), a.body)
			}
			if strings.HasPrefix(tt.target, "/v1/") && !strings.HasPrefix(tt.target, "/v1/agent/") {
				if a.Header.Get("Age") != "0" || a.Header.Get("X-Cache") != "HIT" {
					t.Errorf("header %v", a.Header)
				}
			}
			if tt.method == "POST" {
				return
			}
			head := w.do("HEAD", tt.target, "")
			for name := range a.Header {
				if got, want := head.Header.Get(name), a.Header.Get(name); got != want && name != "Date" && name != "X-Request-Id" {
					t.Errorf("HEAD: %s is %q, GET's is %q", name, got, want)
				}
			}
			if head.StatusCode != http.StatusOK || head.body != "" || head.ContentLength != a.ContentLength {
				t.Errorf("HEAD: status %d, %d bytes, Content-Length %d", head.StatusCode, len(head.body), head.ContentLength)
			}
			again := w.get(tt.target, "If-None-Match: "+a.Header.Get("Etag"))
			if again.StatusCode != http.StatusNotModified || again.body != "" || again.Header.Get("Etag") != a.Header.Get("Etag") {
				t.Errorf("If-None-Match: status %d, body %q, header %v", again.StatusCode, again.body, again.Header)
			}
		})
	}
}

// TestUnknownParameter: whatever openapi.json has under /v1 and /v3 refuses a query parameter
// that it has not; /healthz and its like take any.
func TestUnknownParameter(t *testing.T) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, nil)
	name := strings.NewReplacer("{shop}", "42", "{region}", "us-east1", "{datacenter}", "ash1", "{ip}", "203.0.113.7", "{path}", "services")
	operations := 0
	for path, methods := range document.Paths {
		for method := range methods {
			operations++
			body := ""
			if method == "post" {
				body = `{"shops":["42"]}`
			}
			data := strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v3/") || strings.HasPrefix(path, "/znodes/")
			for _, query := range []string{"bogus=1", "bogus", "%62ogus", "Shop=42&bogus"} {
				target := name.Replace(path) + "?" + query
				a := w.do(strings.ToUpper(method), target, body)
				switch {
				case !data && a.StatusCode != http.StatusOK:
					t.Errorf("%s %s: %s %s", method, target, a.Status, a.body)
				case data && (a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "invalid-request") || !strings.Contains(a.body, "unknown query parameter")):
					t.Errorf("%s %s: %s %s", method, target, a.Status, a.body)
				}
			}
			if data && method == "get" {
				if a := w.do("HEAD", name.Replace(path)+"?bogus", ""); a.StatusCode != http.StatusBadRequest {
					t.Errorf("HEAD %s: %s", path, a.Status)
				}
			}
		}
	}
	if operations < 13 {
		t.Errorf("%d operations", operations)
	}
}

// TestProblems is the table of what goes wrong.
func TestProblems(t *testing.T) {
	w := newWorld(t, nil)
	w.reader.SetShopErr("broken", fmt.Errorf("shop %q: %w: not JSON", "broken", discovery.ErrBadData))
	w.reader.SetShopErr("bad", discovery.ErrBadData) // as the cache has it
	w.reader.SetShopErr("away", fmt.Errorf("%w: no session", discovery.ErrUnavailable))
	w.reader.SetShopErr("busy", discovery.ErrOverloaded)
	w.reader.SetShopErr("bug", errors.New("a secret"))
	many := func(n int, name string) string {
		return `{"shops":[` + strings.TrimSuffix(strings.Repeat(`"`+name+`",`, n), ",") + `]}`
	}
	for _, tt := range []struct {
		method, target, body string
		header               []string
		status               int
		kind                 string
		detail               string // part of it
	}{
		{"GET", "/v1/shops/nope", "", nil, 404, "not-found", `shop "nope"`},
		{"GET", "/v1/shops/a/b", "", nil, 404, "no-such-route", ""},
		{"GET", "/v1/shops/a%2Fb", "", nil, 400, "invalid-name", "slash"},
		{"GET", "/v1/shops/..", "", nil, 400, "invalid-name", "relative"},
		{"GET", "/v1/shops/%2e%2e", "", nil, 400, "invalid-name", "relative"},
		{"GET", "/v1/shops/%22%5C%22", "", nil, 404, "not-found", `shop "\"\\\""`},
		{"GET", "/v1/shops/%ff", "", nil, 400, "invalid-name", "UTF-8"},
		{"GET", "/v1/shops/a%00b", "", nil, 400, "invalid-name", "control character"},
		{"GET", "/v1/shops/" + strings.Repeat("x", 10<<10), "", nil, 400, "invalid-name", "10240 bytes"},
		{"GET", "/v1/shops/" + strings.Repeat("x", 256), "", nil, 400, "invalid-name", "256 bytes"},
		{"GET", "/v1/shops/bad", "", nil, 502, "unreadable-record", `shop "bad"`},
		{"GET", "/v1/shops/lost", "", nil, 502, "unreadable-record", "gone1"},
		{"GET", "/v1/shops/broken", "", nil, 502, "unreadable-record", "not JSON"},
		{"GET", "/v1/shops/away", "", nil, 503, "unavailable", "no session"},
		{"GET", "/v1/shops/busy", "", nil, 503, "overloaded", ""},
		{"GET", "/v1/shops/bug", "", nil, 500, "internal", "X-Request-Id"},
		{"GET", "/v1/shops/", "", nil, 404, "no-such-route", ""},
		{"GET", "/v1/shops", "", nil, 404, "no-such-route", ""},
		{"GET", "/v1/placement", "", nil, 400, "invalid-request", `"shop"`},
		{"GET", "/v1/placement?shop=", "", nil, 400, "invalid-name", "empty"},
		{"GET", "/v1/placement?shop=a&shop=b", "", nil, 400, "invalid-request", "once"},
		{"GET", "/v1/placement?shop=a%2Fb", "", nil, 400, "invalid-name", "slash"},
		{"GET", "/v1/placement?shop=a&policy=best", "", nil, 400, "invalid-request", `"best"`},
		{"GET", "/v1/placement?shop=a&exclude=ash9", "", nil, 400, "invalid-request", `"ash9"`},
		{"GET", "/v1/placement?shop=a&exlude=ash1", "", nil, 400, "invalid-request", `"exlude"`},
		{"GET", "/v1/placement?shop=a&prefer=%zz", "", nil, 400, "invalid-request", "%zz"},
		{"GET", "/v1/placement?shop=a;b", "", nil, 400, "invalid-request", "semicolon"},
		{"GET", "/v1/placement?shop=a&exclude=us-east1&exclude=eu-west1", "", nil, 409, "no-capacity", "6 datacenters"},
		{"GET", "/v1/regions/mars", "", nil, 404, "not-found", `region "mars"`},
		{"GET", "/v1/regions/a%2Fb", "", nil, 400, "invalid-name", "slash"},
		{"GET", "/v1/datacenters/ash9", "", nil, 404, "not-found", `datacenter "ash9"`},
		{"GET", "/v1/datacenters/%ff", "", nil, 400, "invalid-name", "UTF-8"},
		{"GET", "/v1/bad-citizens?format=xml", "", nil, 400, "invalid-request", `"xml"`},
		{"GET", "/v1/bad-citizens?format=json&format=text", "", nil, 400, "invalid-request", "once"},
		{"GET", "/v1/bad-citizens?fromat=text", "", nil, 400, "invalid-request", `"fromat"`},
		{"GET", "/v1/bad-citizens/nope", "", nil, 400, "invalid-request", `"nope"`},
		{"GET", "/v1/bad-citizens/203.0.113.0%2F24", "", nil, 400, "invalid-request", "203.0.113.0/24"},
		{"GET", "/v1/bad-citizens/fe80::1%25eth0", "", nil, 400, "invalid-request", "zone"},
		{"GET", "/v1/bad-citizens/999.1.1.1", "", nil, 400, "invalid-request", "999.1.1.1"},
		{"GET", "/", "", nil, 404, "no-such-route", "openapi.json"},
		{"GET", "/v2/shops/42", "", nil, 404, "no-such-route", ""},
		{"GET", "//v1/shops/42", "", nil, 404, "no-such-route", ""},
		{"DELETE", "/v1/shops/42", "", nil, 405, "method-not-allowed", "GET"},
		{"GET", "/v1/shops/lookup/x", "", nil, 404, "no-such-route", ""},
		{"PUT", "/v1/shops/lookup", "{}", nil, 405, "method-not-allowed", "POST"},
		{"POST", "/v1/regions", "{}", nil, 405, "method-not-allowed", "GET"},
		{"BREW", "/healthz", "", nil, 405, "method-not-allowed", "GET"},

		{"POST", "/v1/shops/lookup", "", nil, 400, "invalid-request", "empty"},
		{"POST", "/v1/shops/lookup", "[]", nil, 400, "invalid-request", "not a JSON object"},
		{"POST", "/v1/shops/lookup", `"shops"`, nil, 400, "invalid-request", "not a JSON object"},
		{"POST", "/v1/shops/lookup", "{}", nil, 400, "invalid-request", `no member "shops"`},
		{"POST", "/v1/shops/lookup", `{"shops":null}`, nil, 400, "invalid-request", "not an array"},
		{"POST", "/v1/shops/lookup", `{"shops":"42"}`, nil, 400, "invalid-request", "not an array"},
		{"POST", "/v1/shops/lookup", `{"shops":["42",43]}`, nil, 400, "invalid-request", `"shops"[1] is not a string`},
		{"POST", "/v1/shops/lookup", `{"shops":["42",["43"]]}`, nil, 400, "invalid-request", `"shops"[1] is not a string`},
		{"POST", "/v1/shops/lookup", `{"shops":["42"`, nil, 400, "invalid-request", "not JSON"},
		{"POST", "/v1/shops/lookup", `{"shops":["42",]}`, nil, 400, "invalid-request", "byte 14"},
		{"POST", "/v1/shops/lookup", `{"shops":["42"]} x`, nil, 400, "invalid-request", "follows"},
		{"POST", "/v1/shops/lookup", `{"shops":["42"]}{}`, nil, 400, "invalid-request", "follows"},
		{"POST", "/v1/shops/lookup", `{"shops":[],"shops":[]}`, nil, 400, "invalid-request", "duplicate"},
		{"POST", "/v1/shops/lookup", "{\"shops\":[\"\xff\"]}", nil, 400, "invalid-request", "UTF-8"},
		{"POST", "/v1/shops/lookup", "{\"shops\":[\"a\nb\"]}", nil, 400, "invalid-request", "not JSON"},
		{"POST", "/v1/shops/lookup", `{"shops":["\ud800"]}`, nil, 400, "invalid-request", "surrogate"},
		{"POST", "/v1/shops/lookup", strings.Repeat("[", 100_000), nil, 400, "invalid-request", "not a JSON object"},
		{"POST", "/v1/shops/lookup", `{"x":` + strings.Repeat("[", 100_000), nil, 400, "invalid-request", "depth"},
		{"POST", "/v1/shops/lookup", many(10_001, "1"), nil, 413, "body-too-large", "10000"},
		{"POST", "/v1/shops/lookup", strings.Repeat(" ", 8<<20+1), nil, 413, "body-too-large", "8388608"},
		{"POST", "/v1/shops/lookup", "shops=42", []string{"Content-Type: ", "Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported-media-type", "x-www-form-urlencoded"},
		{"POST", "/v1/shops/lookup", "{}", []string{"Content-Encoding: gzip"}, 415, "unsupported-media-type", "gzip"},
	} {
		target := tt.target
		if len(target) > 60 {
			target = target[:60]
		}
		t.Run(tt.method+" "+target, func(t *testing.T) {
			a := w.do(tt.method, tt.target, tt.body, tt.header...)
			var problem struct {
				Type, Title, Detail string
				Status              int
			}
			if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
				t.Fatalf("%d %q: %v", a.StatusCode, a.body, err)
			}
			if a.StatusCode != tt.status || problem.Status != tt.status || problem.Type != "urn:magellan:problem:"+tt.kind ||
				!strings.Contains(problem.Detail, tt.detail) || problem.Title == "" {
				t.Errorf("%d %s\nwant %d %s with %q", a.StatusCode, a.body, tt.status, tt.kind, tt.detail)
			}
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type %q", got)
			}
			if a.Header.Get("Etag") != "" {
				t.Errorf("a problem has an ETag")
			}
			if (tt.status == 503) != (a.Header.Get("Retry-After") != "") {
				t.Errorf("Retry-After %q", a.Header.Get("Retry-After"))
			}
			if (tt.status == 405) != (a.Header.Get("Allow") != "") {
				t.Errorf("Allow %q", a.Header.Get("Allow"))
			}
			known := tt.kind == "not-found" || tt.kind == "no-capacity" || tt.kind == "unreadable-record"
			if known != (a.Header.Get("X-Cache") != "") {
				t.Errorf("X-Cache %q", a.Header.Get("X-Cache"))
			}
			if strings.Contains(a.body, "secret") {
				t.Errorf("the answer tells what only the log should")
			}
		})
	}
}

func TestLargestLookup(t *testing.T) {
	w := newWorld(t, nil)
	name := strings.Repeat("é", 127) // 254 bytes, 762 as \u escapes
	w.reader.SetShop(name, "ash1")
	escaped := strings.Repeat(`"`+strings.Repeat(`\u00e9`, 127)+`",`, 10_000)
	a := w.do("POST", "/v1/shops/lookup", `{"shops":[`+strings.TrimSuffix(escaped, ",")+`]}`)
	var got struct {
		Results []struct{ Status, Shop string }
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Results) != 10_000 {
		t.Fatalf("%d, %d results, %v", a.StatusCode, len(got.Results), err)
	}
	for i, r := range got.Results {
		if r.Status != "found" || r.Shop != name {
			t.Fatalf("result %d: %v", i, r)
		}
	}
}

// TestMeta shows age, status and zxid in the header.
func TestMeta(t *testing.T) {
	w := newWorld(t, nil)
	zxid := w.reader.SetShop("42", "ash1")
	for _, tt := range []struct {
		age    time.Duration
		status discovery.CacheStatus
		want   string
		cache  string
	}{
		{0, discovery.Hit, "0", "HIT"},
		{1999 * time.Millisecond, discovery.Miss, "1", "MISS"},
		{-time.Second, discovery.Hit, "0", "HIT"},
		{59 * time.Minute, discovery.Stale, "3540", "STALE"},
	} {
		w.reader.SetStaleness(tt.age, tt.status)
		a := w.get("/v1/shops/42")
		if a.Header.Get("Age") != tt.want || a.Header.Get("X-Cache") != tt.cache || a.Header.Get("X-Zxid") != fmt.Sprintf("0x%x", zxid) {
			t.Errorf("age %v, %v: header %v", tt.age, tt.status, a.Header)
		}
	}
	a := w.get("/v1/shops/nope")
	if a.Header.Get("Age") != "3540" || a.Header.Get("X-Cache") != "STALE" || a.Header.Get("X-Zxid") != "" {
		t.Errorf("absent: header %v", a.Header)
	}
	w.reader.SetStaleness(2*time.Hour, discovery.Stale)
	if a := w.get("/v1/shops/42"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("beyond MaxStale: %d", a.StatusCode)
	}
}

// TestETagIsOfTheBytes: what does not change the bytes does not change the ETag,
// and what does, does.
func TestETagIsOfTheBytes(t *testing.T) {
	w := newWorld(t, nil)
	before := w.get("/v1/shops/42")
	w.reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 1000, Assigned: 813, Open: true})
	after := w.get("/v1/shops/42", "If-None-Match: "+before.Header.Get("Etag"))
	if after.StatusCode != http.StatusNotModified {
		t.Errorf("a datacenter's count changed a shop's answer: %d", after.StatusCode)
	}
	if before.Header.Get("X-Zxid") == after.Header.Get("X-Zxid") {
		t.Errorf("the zxid stayed %s", after.Header.Get("X-Zxid"))
	}
	w.reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "eu-west1", Capacity: 1000, Assigned: 813, Open: true})
	if moved := w.get("/v1/shops/42", "If-None-Match: "+before.Header.Get("Etag")); moved.StatusCode != http.StatusOK || !strings.Contains(moved.body, "eu-west1") {
		t.Errorf("a datacenter's move is not seen: %d %s", moved.StatusCode, moved.body)
	}
	other := newWorld(t, nil)
	if a := other.get("/v1/shops/42"); a.Header.Get("Etag") != before.Header.Get("Etag") {
		t.Errorf("two replicas, two ETags")
	}
}

func TestFresh(t *testing.T) {
	w := newWorld(t, nil)
	for _, target := range []string{"/v1/shops/42", "/v1/placement?shop=a", "/v1/regions", "/v1/regions/us-east1", "/v1/datacenters",
		"/v1/datacenters/ash1", "/v1/bad-citizens", "/v1/bad-citizens/1.2.3.4"} {
		before := w.reader.FreshReads()
		w.get(target)
		w.get(target, "Cache-Control: max-age=60, stale-if-error=5", "X-Min-Zxid: 0x1")
		if got := w.reader.FreshReads(); got != before {
			t.Errorf("%s: fresh reads that nobody asked for", target)
		}
		for _, header := range []string{"max-age=0, no-cache", "max-age=0", "no-cache"} {
			before = w.reader.FreshReads()
			w.get(target, "Cache-Control: "+header)
			if got := w.reader.FreshReads(); got == before {
				t.Errorf("%s: no fresh read for %s", target, header)
			}
		}
		w.reader.SetFreshErr(discovery.ErrUnavailable)
		w.reader.SetStaleness(3*time.Second, discovery.Stale)
		for header, status := range map[string]int{"max-age=3": 200, "max-age=2": 503, "max-age=2, stale-if-error=3": 200,
			"no-cache": 503, "no-cache, stale-if-error=3": 200, "stale-if-error=2": 503, "stale-if-error=0": 503, "min-fresh=9": 200} {
			if a := w.get(target, "Cache-Control: "+header); a.StatusCode != status || status == 200 && a.Header.Get("X-Cache") != "STALE" {
				t.Errorf("%s while ZooKeeper is away, %s: %s, want %d", target, header, a.Status, status)
			}
		}
		w.reader.SetFreshErr(nil)
		w.reader.SetStaleness(0, discovery.Hit)
		for zxid, status := range map[string]int{"0x1": 200, "0xffffffff": 412, "latest": 400, "-1": 400} {
			if a := w.get(target, "X-Min-Zxid: "+zxid); a.StatusCode != status {
				t.Errorf("%s since %s: %s, want %d", target, zxid, a.Status, status)
			}
		}
	}
	before := w.reader.FreshReads()
	w.do("POST", "/v1/shops/lookup", `{"shops":["42"]}`, "Cache-Control: no-cache")
	if w.reader.FreshReads() == before {
		t.Errorf("lookup: no fresh read")
	}
}

// TestRenderedBodies: bodies that are kept change when they must.
func TestRenderedBodies(t *testing.T) {
	w := newWorld(t, nil)
	const gone = "198.51.100.1"
	for _, format := range []string{"json", "text", "nginx", "ipset"} {
		target := "/v1/bad-citizens?format=" + format
		w.setNow(now)
		first := w.get(target)
		if !strings.Contains(first.body, gone) {
			t.Fatalf("%s: %s", format, first.body)
		}
		if again := w.get(target); again.body != first.body {
			t.Errorf("%s: another body", format)
		}
		w.setNow(now.Add(999 * time.Millisecond))
		if again := w.get(target); again.body != first.body {
			t.Errorf("%s: an entry left before its time", format)
		}
		w.setNow(now.Add(time.Second))
		if again := w.get(target); strings.Contains(again.body, gone) || again.Header.Get("Etag") == first.Header.Get("Etag") {
			t.Errorf("%s: an entry stayed after its time", format)
		}
		w.setNow(now) // clocks are set back
		if again := w.get(target); again.body != first.body {
			t.Errorf("%s: an entry is missing before its time", format)
		}
		w.reader.SetBadCitizens("more", "192.0.2.1\n")
		if again := w.get(target); !strings.Contains(again.body, "192.0.2.1") {
			t.Errorf("%s: a new list is not seen", format)
		}
		w.reader.DeleteBadCitizens("more")
		if again := w.get(target); again.body != first.body {
			t.Errorf("%s: a deleted list is still seen", format)
		}
	}

	before := w.get("/v1/regions")
	w.reader.SetRegion(shops.Region{Name: "zz-new1"})
	w.reader.SetDatacenter(shops.Datacenter{Name: "zz1", Region: "zz-new1"})
	if a := w.get("/v1/regions"); !strings.Contains(a.body, `{"region":"zz-new1","open":false,"datacenters":["zz1"]}`) || a.body == before.body {
		t.Errorf("regions: %s", a.body)
	}
	for _, name := range []string{"us-east1", "eu-west1", "ap-south1", "zz-new1"} {
		w.reader.DeleteRegion(name)
	}
	if a := w.get("/v1/regions"); a.body != `{"regions":[]}`+"\n" {
		t.Errorf("no regions: %s", a.body)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld(t, nil)
	w.setNotReady(errors.New("first sync is not done"))
	if a := w.get("/readyz"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "first sync is not done") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := w.get("/healthz"); a.StatusCode != http.StatusOK {
		t.Errorf("healthz: %d", a.StatusCode)
	}
	w.setNotReady(nil)
	if a := w.get("/readyz"); a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// TestDocumentHasAllRoutes compares the routes with openapi.json, both ways.
func TestDocumentHasAllRoutes(t *testing.T) {
	w := newWorld(t, nil)
	var doc struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(w.get("/openapi.json").body), &doc); err != nil {
		t.Fatal(err)
	}
	var documented []string
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
			if method == "get" {
				documented = append(documented, "HEAD "+path) // the description says so
			}
			if operation.OperationID == "" {
				t.Errorf("%s %s has no operationId", method, path)
			}
		}
	}
	routes := httpapi.Routes(w.server)
	slices.Sort(documented)
	slices.Sort(routes)
	if !slices.Equal(documented, routes) {
		t.Errorf("openapi.json has\n%s\nthe server has\n%s", strings.Join(documented, "\n"), strings.Join(routes, "\n"))
	}
	v, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if valid, problems := v.ValidateDocument(); !valid {
		for _, p := range problems {
			t.Errorf("openapi.json: %v", p)
		}
	}
}

// TestDocumentHasAllProblems compares the problem types with openapi.json.
func TestDocumentHasAllProblems(t *testing.T) {
	w := newWorld(t, nil)
	doc := w.get("/openapi.json").body
	for _, name := range httpapi.ProblemTypes() {
		if !strings.Contains(doc, `"`+name+`"`) {
			t.Errorf("openapi.json does not name %s", name)
		}
	}
	if n := strings.Count(doc, `"urn:magellan:problem:`); n != len(httpapi.ProblemTypes()) {
		t.Errorf("openapi.json names %d problem types, there are %d", n, len(httpapi.ProblemTypes()))
	}
}

// TestSlashes: a path with a slash too many is no route's, wherever that stands and
// whatever its last element is; an escaped one belongs to the name.
func TestSlashes(t *testing.T) {
	w := newWorld(t, nil)
	for _, target := range []string{
		"/v1/shops/42", "/v1/regions/us-east1", "/v1/datacenters/ash1", "/v1/bad-citizens/203.0.113.7",
		"/v1/regions", "/v1/bad-citizens?format=text", "/v1/placement?shop=new", "/healthz", "/v1/shops/%34%32",
	} {
		path, query, _ := strings.Cut(target, "?")
		if a := w.get(target); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", target, a.Status)
		}
		for _, slashed := range []string{path + "/", path + "//", path + "/x/y", "/" + path, strings.Replace(path, "/", "//", 2), path[:strings.LastIndex(path, "/")] + "/"} {
			if slashed == "" {
				continue
			}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				a := w.raw(method+" "+slashed+"?"+query+" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method)[0]
				if a.StatusCode != http.StatusNotFound || !strings.Contains(a.body, "no-such-route") {
					t.Errorf("%s %s: %s %s", method, slashed, a.Status, a.body)
				}
			}
		}
	}
	for _, target := range []string{"/v1/shops/a%2Fb", "/v1/regions/a%2Fb", "/v1/datacenters/%2F"} {
		if a := w.get(target); a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, "invalid-name") {
			t.Errorf("%s: %s %s", target, a.Status, a.body)
		}
	}
}
