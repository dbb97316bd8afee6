package httpapi_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/znodes/znodestest"
)

// oddZnode is a name with what JSON, XML and URLs treat specially.
const oddZnode = `caf` + "é" + ` "quoted" \ <b>&%2F`

// newTree holds the znodes that the golden files show.
func newTree() *znodestest.Tree {
	t := znodestest.New()
	t.Set("/services/cart", []byte("x"))
	t.Set("/services/cart/b", nil)
	t.Set("/services/cart/a", []byte{})
	t.Own("/services/cart/a", 0x1000abcdef)
	t.Set("/services/cart", []byte("owner: \"team é\"\n"))
	t.Set("/odd/"+oddZnode, []byte(`<&>"`+"\x01"))
	t.Own("/odd/"+oddZnode, -1<<63) // a container's
	t.Set("/odd/binary", []byte("\xff\x00\xfe"))
	t.Set("/odd/denied", []byte("secret"))
	t.Deny("/odd/denied", true)
	t.Set("/hidden", []byte("secret"))
	return t
}

// TestZnodeProblems: what is asked wrongly, and what cannot be answered. That a path is not shown does
// not say whether there is a znode.
func TestZnodeProblems(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct {
		target string
		status int
		want   string
	}{
		{"/v1/znodes/services/none", http.StatusNotFound, "znode /services/none: not found"},
		{"/v1/znodes/services/none?view=json", http.StatusNotFound, "not-found"},
		{"/v1/znodes/odd/denied", http.StatusForbidden, "does not let magellan read /odd/denied"},
		{"/v1/znodes/odd/denied?view=json", http.StatusForbidden, "forbidden"},
		{"/v1/znodes/hidden", http.StatusForbidden, "shows no znode at /hidden, only /services, /odd"},
		{"/v1/znodes/hidden/none", http.StatusForbidden, "shows no znode"},
		{"/v1/znodes/servicesx", http.StatusForbidden, "shows no znode"},
		{"/v1/znodes/", http.StatusForbidden, "shows no znode at /, "},
		{"/v1/znodes", http.StatusNotFound, "no-such-route"},
		{"/v1/znodes/services/", http.StatusNotFound, "no-such-route"},
		{"/v1/znodes/services//cart", http.StatusNotFound, "no-such-route"},
		{"/v1/znodes/services%2F", http.StatusBadRequest, "ends with a slash"},
		{"/v1/znodes/services%2F%2Fcart", http.StatusBadRequest, "it is empty"},
		{"/v1/znodes/services/../hidden", http.StatusBadRequest, "relative"},
		{"/v1/znodes/services/%2e%2e/hidden", http.StatusBadRequest, "relative"},
		{"/v1/znodes/services/a%00", http.StatusBadRequest, "control character"},
		{"/v1/znodes/services/%ff", http.StatusBadRequest, "UTF-8"},
		{"/v1/znodes/services?view=tree", http.StatusBadRequest, "want data or json"},
		{"/v1/znodes/services?view=json&view=data", http.StatusBadRequest, "want it once"},
		{"/znodes/v1/services/none?view=children", http.StatusNotFound, "not-found"},
		{"/znodes/v1/odd/denied", http.StatusForbidden, "forbidden"},
		{"/znodes/v1/hidden", http.StatusForbidden, "shows no znode"},
		{"/znodes/v1/", http.StatusForbidden, "shows no znode"},
		{"/znodes/v1/services?callback=f", http.StatusBadRequest, "no JSONP"},
	} {
		a := w.get(tt.target)
		if a.StatusCode != tt.status || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s: %d %s, want %d and %s", tt.target, a.StatusCode, a.body, tt.status, tt.want)
		}
	}
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		for _, target := range []string{"/v1/znodes/services/cart", "/znodes/v1/services/cart", "/znodes/v1/"} {
			if a := w.do(method, target, ""); a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, target, a.Status)
			}
		}
	}
	w.znodes.SetErr(fmt.Errorf("%w: no session", discovery.ErrUnavailable), discovery.Meta{})
	for _, target := range []string{"/v1/znodes/services/none", "/v1/znodes/services?view=json", "/znodes/v1/services"} {
		if a := w.get(target); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s although ZooKeeper is away", target, a.StatusCode, a.body)
		}
	}
	w = newWorld(t, func(cfg *httpapi.Config) { cfg.Znodes = nil })
	for _, target := range []string{"/v1/znodes/services", "/v1/znodes/", "/znodes/v1/services"} {
		if a := w.get(target); a.StatusCode != http.StatusNotImplemented || !strings.Contains(a.body, "--znodes") {
			t.Errorf("%s of a server without znodes: %d %s", target, a.StatusCode, a.body)
		}
	}
	if a := w.get("/v1/watch?znode=/services"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a stream of znodes: %d %s", a.StatusCode, a.body)
	}
}

// TestZnodeRoot: the root has a path of its own.
func TestZnodeRoot(t *testing.T) {
	tree := newTree()
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Znodes, cfg.Service, cfg.Services = tree.Service("/"), nil, nil })
	for _, target := range []string{"/v1/znodes/?view=json", "/znodes/v1/?view=children", "/v1/znodes/%2F?view=json"} {
		a := w.get(target)
		if a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"path":"/"`) || !strings.Contains(a.body, `"children":["hidden","odd","services"]`) {
			t.Errorf("%s: %d %s", target, a.StatusCode, a.body)
		}
		if head := w.do("HEAD", target, ""); head.StatusCode != http.StatusOK || head.Header.Get("Etag") != a.Header.Get("Etag") {
			t.Errorf("HEAD %s: %s", target, head.Status)
		}
	}
	if a := w.get("/znodes/v1/?view=children"); !strings.Contains(a.body, "/znodes/v1/{child}\"") || strings.Contains(a.body, "v1//") {
		t.Errorf("the template of the root: %s", a.body)
	}
}

// TestZnodeBytes: no browser may take what somebody has written to a znode for a page or a script.
func TestZnodeBytes(t *testing.T) {
	w := newWorld(t, nil)
	w.znodes.Set("/odd/page", []byte("<script>alert(1)</script>"))
	for _, header := range []string{"Accept: application/octet-stream", "Accept: text/html, application/octet-stream;q=0.1"} {
		for _, target := range []string{"/v1/znodes/odd/page", "/znodes/v1/odd/page"} {
			a := w.get(target, header)
			if a.body != "<script>alert(1)</script>" || a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s with %s: %q, header %v", target, header, a.body, a.Header)
			}
		}
	}
	for path, want := range map[string]string{"/services/cart/a": "", "/services/cart/b": "", "/odd/binary": "\xff\x00\xfe"} {
		if a := w.get("/v1/znodes" + path); a.StatusCode != http.StatusOK || a.body != want || a.Header.Get("Etag") == "" {
			t.Errorf("%s: %d %q", path, a.StatusCode, a.body)
		}
	}
}

// TestZnodeCompressed: a long znode is compressed for who takes that, with an ETag that stands for the
// same bytes, until it is written again.
func TestZnodeCompressed(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 2 {
		text := strings.Repeat(fmt.Sprintf("line %d\n", i), 1000)
		w.znodes.Set("/odd/long", []byte(text))
		plain := w.get("/v1/znodes/odd/long")
		for range 2 {
			zipped := w.get("/v1/znodes/odd/long", "Accept-Encoding: gzip")
			if plain.body != text || zipped.Header.Get("Content-Encoding") != "gzip" || unzipped(t, zipped) != text || zipped.Header.Get("Etag") != zipTag(plain.Header.Get("Etag")) {
				t.Errorf("%d bytes, plain %v, compressed %v", len(plain.body), plain.Header, zipped.Header)
			}
		}
	}
}

// TestGatewayTypes: the client's Accept decides, and caches on the way are told so.
func TestGatewayTypes(t *testing.T) {
	w := newWorld(t, nil)
	for _, tt := range []struct{ accept, want string }{
		{"", "application/json"},
		{"*/*", "application/json"},
		{"text/html, */*;q=0.8", "application/json"},
		{"application/json", "application/json"},
		{"application/javascript", "application/javascript"},
		{"application/xml", "application/xml"},
		{"text/xml; charset=utf-8", "application/xml"},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/xml"},
		{"application/xml;q=0, application/json", "application/json"},
		{"image/png", "application/json"},
		{";;;,,", "application/json"},
	} {
		header := []string{}
		if tt.accept != "" {
			header = append(header, "Accept: "+tt.accept)
		}
		a := w.get("/znodes/v1/services/cart?view=children", header...)
		if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != tt.want || !slices.Contains(a.Header.Values("Vary"), "Accept") {
			t.Errorf("Accept %q: %s, %v", tt.accept, a.Status, a.Header)
		}
	}
	// What XML has is what JSON has.
	target := "/znodes/v1/odd/" + strings.NewReplacer(" ", "%20", `"`, "%22", "<", "%3C", ">", "%3E", "%", "%25", `\`, "%5C").Replace(oddZnode)
	var inXML, inJSON struct {
		Path           string `xml:"path"`
		URI            string `xml:"uri"`
		Data64         string `xml:"data64"`
		EphemeralOwner int64  `xml:"ephemeralOwner"`
		Pzxid          int64  `xml:"pzxid"`
	}
	one, other := w.get(target, "Accept: application/xml"), w.get(target)
	if err := xml.Unmarshal([]byte(one.body), &inXML); err != nil {
		t.Fatalf("%v: %s", err, one.body)
	}
	if err := json.Unmarshal([]byte(other.body), &inJSON); err != nil || inXML != inJSON || inXML.Path != "/odd/"+oddZnode || inXML.EphemeralOwner != -1<<63 {
		t.Errorf("%+v in XML, %+v in JSON, %v", inXML, inJSON, err)
	}
	var list struct {
		Children []string `xml:"children>child"`
	}
	if err := xml.Unmarshal([]byte(w.get("/znodes/v1/odd?view=children", "Accept: text/xml").body), &list); err != nil || len(list.Children) != 3 || !slices.Contains(list.Children, oddZnode) {
		t.Errorf("%v, %v", list, err)
	}
	// The URI in the answer finds the znode again.
	if again := w.get(strings.TrimPrefix(inJSON.URI, "http://"+w.addr)); again.body != other.body {
		t.Errorf("%s: %s", inJSON.URI, again.body)
	}
}

// TestZnodeChanges: a long poll and a stream show what changes of a znode: its bytes, its children,
// its end, and who may read it.
func TestZnodeChanges(t *testing.T) {
	w := newWorld(t, nil)
	c := w.watch("znode=/services/cart&znode=services/none", "")
	if first := c.expectAnswer("snapshot"); !strings.Contains(first, `"children":["a","b"]`) {
		t.Errorf("the first snapshot: %s", first)
	}
	c.expectAnswer("snapshot")
	c.expect("synced")
	w.znodes.Set("/services/none", []byte("now"))
	if came := c.expectAnswer("change"); !strings.Contains(came, `"data":"now"`) {
		t.Errorf("after it was created: %s", came)
	}
	w.znodes.Set("/services/cart/c", nil)
	if came := c.expectAnswer("change"); !strings.Contains(came, `"children":["a","b","c"]`) {
		t.Errorf("after a child was created: %s", came)
	}
	w.znodes.Deny("/services/none", true)
	if came := c.expectAnswer("change"); !strings.Contains(came, `"status":403`) || strings.Contains(came, "now") {
		t.Errorf("after it was denied: %s", came)
	}
	c.giveUp()
	eventually(t, func() bool { return w.znodes.Watches() == 0 })

	etag := w.get("/v1/znodes/services/cart?view=json").Header.Get("Etag")
	came := make(chan answer)
	go func() {
		came <- w.get("/v1/znodes/services/cart?view=json", "If-None-Match: "+etag, "Prefer: wait=60")
	}()
	eventually(t, func() bool { return w.znodes.Watches() == 2 })
	w.znodes.Delete("/services/cart/c")
	if a := <-came; a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"children":["a","b"]`) || a.Header.Get("Preference-Applied") == "" {
		t.Errorf("a long poll: %d %s", a.StatusCode, a.body)
	}
}
