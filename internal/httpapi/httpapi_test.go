package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"magellan/internal/httpapi"
	"magellan/internal/services/servicestest"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
	"magellan/internal/znodes/znodestest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is when the tests take place.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// patience bounds each wait for what must happen; it is never measured.
const patience = 2 * time.Minute

// world is a Server on a real listener, and what it answers from.
type world struct {
	t      testing.TB
	reader *shopstest.Reader
	mirror *servicestest.Mirror
	znodes *znodestest.Tree
	server *httpapi.Server
	addr   string
	client *http.Client

	mu       sync.Mutex
	clock    time.Time
	notReady error
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) setNow(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = now
}

func (w *world) setNotReady(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notReady = err
}

func (w *world) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.notReady
}

// Names with all that JSON and URLs treat specially.
const oddShop = `caf` + "é" + ` "quoted" \ <b>&%2F ` + "\u2028😀"

// newReader holds the records that the golden files show.
func newReader() *shopstest.Reader {
	r := shopstest.New()
	r.SetClock(func() time.Time { return now })
	r.SetRegion(shops.Region{Name: "us-east1", Open: true})
	r.SetRegion(shops.Region{Name: "eu-west1", Open: true})
	r.SetRegion(shops.Region{Name: "ap-south1", Open: false})
	r.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 1000, Assigned: 812, Open: true})
	r.SetDatacenter(shops.Datacenter{Name: "ash2", Region: "us-east1", Capacity: 1000, Assigned: 1, Open: false})
	r.SetDatacenter(shops.Datacenter{Name: "dub1", Region: "eu-west1", Capacity: 500, Assigned: 100, Open: true})
	r.SetDatacenter(shops.Datacenter{Name: "dub2", Region: "eu-west1", Capacity: 10, Assigned: 12, Open: true})
	r.SetDatacenter(shops.Datacenter{Name: "bom1", Region: "ap-south1", Capacity: 500, Open: true})
	r.SetDatacenter(shops.Datacenter{Name: "nowhere1", Region: "atlantis", Capacity: 500, Open: true})
	r.SetShop("42", "ash1")
	r.SetShop("43", "dub1")
	r.SetShop("lookup", "dub1")
	r.SetShop("lost", "gone1")
	r.SetShop("%2F", "dub1")
	r.SetBadCitizens("fraud", `
203.0.113.0/24 expires=2026-12-01T00:00:00Z reason="credential stuffing"
203.0.113.7 reason="said \"hi\" \\o/"
2001:db8::/32
198.51.100.1 expires=2026-06-01T12:00:01Z reason="gone in a second"
198.51.100.2 expires=2026-06-01T12:00:00Z reason="gone already"
`)
	r.SetBadCitizens("everybody", "0.0.0.0/0 expires=2026-07-01T00:00:00Z\n::/0 expires=2026-07-01T00:00:00Z\n")
	return r
}

// newWorld starts a Server; change, if not nil, changes its Config.
func newWorld(t testing.TB, change func(*httpapi.Config)) *world {
	w := &world{t: t, reader: newReader(), mirror: newMirror(), znodes: newTree(), clock: now}
	w.reader.SetClock(w.now)
	service, err := shops.New(shops.Config{Reader: w.reader, MaxStale: time.Hour, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	cfg := httpapi.Config{Service: service, Services: w.mirror.Registry(time.Hour), Znodes: w.znodes.Service("/services", "/odd"), Ready: w.ready, Registerer: prometheus.NewRegistry()}
	if change != nil {
		change(&cfg)
	}
	if w.server, err = httpapi.New(cfg); err != nil {
		t.Fatal(err)
	}
	httpapi.SetGoodbyeTime(w.server, patience)
	httpapi.SetAccessLast(w.server, patience)
	l := listen(t)
	w.addr = l.Addr().String()
	transport := &http.Transport{DisableCompression: true} // tests ask for it themselves
	w.client = &http.Client{Transport: transport}
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(l) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

// answer is a response that has been read.
type answer struct {
	*http.Response
	body string
}

// do sends a request, and holds the answer against openapi.json. target is the
// path and query as they stand on the wire; header is "Name: value" pairs.
func (w *world) do(method, target, body string, header ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, "http://"+w.addr+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[name] = append(req.Header[name], value)
		if value == "" {
			delete(req.Header, name)
		}
	}
	res, err := w.client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	a := answer{res, string(text)}
	checkAgainstDocument(w.t, req, a)
	return a
}

func (w *world) get(target string, header ...string) answer {
	w.t.Helper()
	return w.do(http.MethodGet, target, "", header...)
}

var document = sync.OnceValues(func() (validator.Validator, error) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		return nil, err
	}
	// Strict: an answer may have no member that the document does not, except for the
	// metadata and the labels of instances.
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions(), config.WithStrictMode(), config.WithStrictIgnorePaths(
		"$.body.**.metadata.*", "$.body[*].labels.*", "$.body[*].Service.Meta.*", "$.body[*].Service.TaggedAddresses.*",
		"$.body[*].ServiceMeta.*", "$.body[*].ServiceTaggedAddresses.*"))
	return v, errors.Join(errs...)
})

// checkAgainstDocument validates an answer against openapi.json: status, header,
// body. Problems that belong to no operation are in the document as responses
// only.
func checkAgainstDocument(t testing.TB, req *http.Request, a answer) {
	t.Helper()
	v, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if a.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: no X-Request-Id", req.Method, req.URL)
	}
	if strings.Contains(a.body, "urn:magellan:problem:no-such-route") || strings.Contains(a.body, "urn:magellan:problem:method-not-allowed") {
		return
	}
	if req.Method == http.MethodHead || req.Method == http.MethodOptions {
		return
	}
	if req.Method == http.MethodGet {
		// The validator takes "/v1/shops/lookup" for the path of that name, and
		// a name with a slash for two elements.
		for _, parent := range []string{"/v1/shops/", "/v1/regions/", "/v1/datacenters/", "/v1/bad-citizens/", "/v1/services/", "/v1/health/service/", "/v1/catalog/service/", "/v1/znodes/", "/znodes/v1/"} {
			if strings.HasPrefix(req.URL.Path, parent) {
				req = req.Clone(req.Context())
				req.URL.Path, req.URL.RawPath = parent+"name", ""
			}
		}
	}
	body := a.body
	if req.URL.Path == "/v1/catalog/services" && a.StatusCode == http.StatusOK {
		// Its members are names, which the strict validator takes for unknown.
		var all map[string][]string
		if err := json.Unmarshal([]byte(body), &all); err != nil {
			t.Errorf("%s: %v: %s", req.URL, err, body)
		}
		body = "{}"
	}
	res := *a.Response
	res.Body = io.NopCloser(strings.NewReader(body))
	// They may come with any answer, as the document's description says.
	res.Header = a.Header.Clone()
	res.Header.Del("Access-Control-Allow-Origin")
	res.Header.Del("Access-Control-Expose-Headers")
	if valid, problems := v.ValidateHttpResponse(req, &res); !valid {
		for _, p := range problems {
			t.Errorf("%s %s: %d is not what openapi.json says: %v: %s", req.Method, req.URL, a.StatusCode, p.Error(), a.body)
			for _, e := range p.SchemaValidationErrors {
				t.Errorf("  %s: %s", e.FieldPath, e.Reason)
			}
		}
	}
}

// golden compares got with a file in testdata, or writes it.
func golden(t testing.TB, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run the tests with -update to write it", err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got %s\nwant %s", path, got, want)
	}
}

func listen(tb testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return l
}
