package httpapi_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/discovery"
	"magellan/internal/httpapi"
	"magellan/internal/shops"
)

// sseEvent is one event of a stream.
type sseEvent struct {
	name, data, id string
}

// streamed is what the data of snapshot and change say.
type streamed struct {
	Key, ETag, Zxid, Cache string
	Status, Age            int
	Time                   int64
	Value, Problem         json.RawMessage
}

func (e sseEvent) answer(t testing.TB) streamed {
	t.Helper()
	var a streamed
	d := json.NewDecoder(strings.NewReader(e.data))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || a.Time == 0 {
		t.Fatalf("%q: %v", e.data, err)
	}
	return a
}

// ages is what an event "age" says, without its time.
func (e sseEvent) ages(t testing.TB) string {
	t.Helper()
	var got struct{ Time int64 }
	before, rest, ok := strings.Cut(e.data, ",")
	if err := json.Unmarshal([]byte(before+"}"), &got); err != nil || !ok || time.Since(time.UnixMilli(got.Time)).Abs() > patience {
		t.Fatalf("%q: %v", e.data, err)
	}
	return rest
}

// client reads a stream as the HTML standard says.
type client struct {
	t    testing.TB
	body io.ReadCloser
	scan *bufio.Scanner
	res  *http.Response
	// last is the id a browser would send.
	last string
	// giveUp cuts the connection.
	giveUp func()
}

func (w *world) watch(query, lastID string) *client {
	w.t.Helper()
	header := http.Header{}
	if lastID != "" {
		header.Set("Last-Event-ID", lastID)
	}
	return w.watchWith(query, header)
}

func (w *world) watchWith(query string, header http.Header) *client {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+"/v1/watch?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = header
	res, err := w.client.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("X-Request-Id") == "" {
		body, _ := io.ReadAll(res.Body)
		w.t.Fatalf("%s %v %s", res.Status, res.Header, body)
	}
	c := &client{t: w.t, body: res.Body, scan: bufio.NewScanner(res.Body), res: res, last: header.Get("Last-Event-ID"), giveUp: cancel}
	c.scan.Buffer(nil, 64<<20)
	w.t.Cleanup(func() { res.Body.Close() })
	return c
}

// next returns the next event; false at the end.
func (c *client) next() (sseEvent, bool) {
	var e sseEvent
	guard := time.AfterFunc(patience, c.giveUp)
	defer guard.Stop()
	for c.scan.Scan() {
		line := c.scan.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && e != sseEvent{}:
			if e.id != "" {
				c.last = e.id
			}
			return e, true
		case line == "", field == "retry":
		case field == "event":
			e.name = value
		case field == "data" && e.data == "":
			e.data = value
		case field == "id":
			e.id = value
		default:
			c.t.Errorf("line %q", line)
		}
	}
	return e, false
}

// expect reads an event of that name, passing over heartbeats, which are events "age".
func (c *client) expect(name string) sseEvent {
	c.t.Helper()
	for {
		e, ok := c.next()
		if !ok || e.name != name && e.name != "age" {
			c.t.Fatalf("want %s, got %+v, %v %v", name, e, ok, c.scan.Err())
		}
		if e.name == name {
			return e
		}
	}
}

// expectAnswer reads an event with an answer and says what matters of it.
func (c *client) expectAnswer(name string) string {
	c.t.Helper()
	a := c.expect(name).answer(c.t)
	return fmt.Sprintf("%s %d %s%s", a.Key, a.Status, a.Value, a.Problem)
}

func wantPrefix(t *testing.T, got, want string) {
	t.Helper()
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q…", got, want)
	}
}

// TestStream: what a stream says is what a GET says, and what changes no bytes is
// not told.
func TestStream(t *testing.T) {
	w := newWorld(t, nil)
	query := "shop=42&bad-citizens&shop=43&shop=nope&shop=lost&placement=new&regions&region=us-east1&datacenters&datacenter=ash1&bad-citizen=203.0.113.7&shop=42"
	c := w.watch(query, "")
	targets := []string{
		"/v1/shops/42", "/v1/shops/43", "/v1/shops/nope", "/v1/shops/lost", "/v1/placement?shop=new", "/v1/regions",
		"/v1/regions/us-east1", "/v1/datacenters", "/v1/datacenters/ash1", "/v1/bad-citizens", "/v1/bad-citizens/203.0.113.7",
	}
	for _, target := range targets {
		a, got := w.get(target), c.expect("snapshot").answer(t)
		said := got.Value
		if a.StatusCode != 200 {
			said = got.Problem
		}
		if got.Status != a.StatusCode || string(said)+"\n" != a.body || got.ETag != a.Header.Get("Etag") || got.Zxid != a.Header.Get("X-Zxid") || got.Cache != a.Header.Get("X-Cache") || strconv.Itoa(got.Age) != cmp.Or(a.Header.Get("Age"), "0") {
			t.Errorf("%s: the stream says %+v, GET says %v %s", target, got, a.Header, a.body)
		}
	}
	if e := c.expect("synced"); e.data != fmt.Sprintf(`{"keys":%d}`, len(targets)) || e.id == "" {
		t.Errorf("%+v", e)
	}

	c = w.watch("shop=42&shop=nope&shop=43", "")
	for range 3 {
		c.expect("snapshot")
	}
	c.expect("synced")
	w.reader.SetShop("42", "ash1") // no change
	w.reader.SetShop("42", "dub1")
	wantPrefix(t, c.expectAnswer("change"), `shop=42 200 {"shop":"42","datacenter":"dub1","region":"eu-west1"}`)
	w.reader.SetShop("nope", "ash1")
	wantPrefix(t, c.expectAnswer("change"), `shop=nope 200 {"shop":"nope"`)
	w.reader.DeleteShop("nope")
	wantPrefix(t, c.expectAnswer("change"), `shop=nope 404 {"type":"urn:magellan:problem:not-found"`)
	w.reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "ap-south1"}) // where none of them is any more
	w.reader.SetDatacenter(shops.Datacenter{Name: "dub1", Region: "us-east1"})
	first, second := c.expectAnswer("change"), c.expectAnswer("change")
	if !strings.Contains(first, `"us-east1"`) || !strings.Contains(second, `"us-east1"`) || first[:7] == second[:7] {
		t.Errorf("a datacenter moved: %s, %s", first, second)
	}
	w.reader.SetShop("42", "ash1") // the watch has moved along
	wantPrefix(t, c.expectAnswer("change"), `shop=42 200 {"shop":"42","datacenter":"ash1","region":"ap-south1"}`)
	w.reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "eu-west1"})
	wantPrefix(t, c.expectAnswer("change"), `shop=42 200 {"shop":"42","datacenter":"ash1","region":"eu-west1"}`)

	c.body.Close()
	eventually(t, func() bool { return w.reader.Watches() <= 20 })
}

// TestStreamResume: another replica goes on from where one left off.
func TestStreamResume(t *testing.T) {
	a := newWorld(t, nil)
	s, err := shops.New(shops.Config{Reader: a.reader, MaxStale: time.Hour, Now: a.now})
	if err != nil {
		t.Fatal(err)
	}
	b := newWorld(t, func(cfg *httpapi.Config) { cfg.Service = s })
	const query = "shop=42&shop=43&shop=nope&bad-citizens"
	c := a.watch(query, "")
	for range 4 {
		c.expect("snapshot")
	}
	c.expect("synced")
	before := c.last
	a.reader.SetShop("43", "ash1")
	if e := c.expect("change"); e.id == "" || e.id == before {
		t.Errorf("a change without an id: %+v", e)
	}
	// Nothing has changed. The client learns how old is what it has, at once.
	d := b.watch(query, c.last)
	d.expect("synced")
	if e, ok := d.next(); !ok || e.name != "age" || e.ages(t) != `"age":0}` {
		t.Errorf("%+v", e)
	}
	// One has, for who missed it; and for who did not.
	d = b.watch(query, before)
	wantPrefix(t, d.expectAnswer("snapshot"), `shop=43 200 {"shop":"43","datacenter":"ash1"`)
	if e := d.expect("synced"); e.id != c.last {
		t.Errorf("two replicas say %q and %q of the same", e.id, c.last)
	}
	a.reader.SetShop("nope", "ash1")
	wantPrefix(t, c.expectAnswer("change"), "shop=nope 200")
	wantPrefix(t, d.expectAnswer("change"), "shop=nope 200")
	a.reader.DeleteShop("42")
	d = b.watch(query, c.last)
	wantPrefix(t, d.expectAnswer("snapshot"), "shop=42 404")
	d.expect("synced")

	for _, last := range []string{"x", "AQ", c.last + "AAAA", strings.Repeat("A", 40)} {
		d = b.watch(query, last)
		if e := d.expect("reset"); !strings.Contains(e.data, `{"reason":"`) {
			t.Errorf("%+v", e)
		}
		for range 4 {
			d.expect("snapshot")
		}
		d.expect("synced")
	}
	d = b.watch("shop=42&shop=43&shop=other&bad-citizens", c.last)
	if e := d.expect("reset"); !strings.Contains(e.data, "other keys") {
		t.Errorf("%+v", e)
	}

	// So many keys that only a digest is sent.
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, "&shop=%d", i)
	}
	c = a.watch(many.String()[1:], "")
	for range 200 {
		c.expect("snapshot")
	}
	if e := c.expect("synced"); len(e.id) > 40 {
		t.Errorf("an id of %d bytes", len(e.id))
	}
	b.watch(many.String()[1:], c.last).expect("synced")
	a.reader.SetShop("7", "dub1")
	d = b.watch(many.String()[1:], c.last)
	d.expect("reset")
	for range 200 {
		d.expect("snapshot")
	}
	d.expect("synced")
}

func TestStreamRefused(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.MaxStreams, cfg.MaxStreamKeys = 1, 3 })
	for query, problem := range map[string]string{
		"":                                   "invalid-request",
		"shops=42":                           "invalid-request",
		"shop=":                              "invalid-name",
		"shop=a%2Fb":                         "invalid-name",
		"bad-citizen=nobody":                 "invalid-request",
		"bad-citizens=json":                  "invalid-request",
		"bad-citizens&bad-citizens":          "invalid-request",
		"shop=1&shop=2&bad-citizens&regions": "invalid-request",
	} {
		if a := w.get("/v1/watch?" + query); a.StatusCode != 400 || !strings.Contains(a.body, problem) {
			t.Errorf("%s: %s %s", query, a.Status, a.body)
		}
	}
	if a := w.do("HEAD", "/v1/watch?shop=42", ""); a.StatusCode != 200 || a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %s %v", a.Status, a.Header)
	}
	c := w.watch("shop=1&shop=2&shop=1&regions", "")
	if a := w.get("/v1/watch?shop=42"); a.StatusCode != 503 || !strings.Contains(a.body, "overloaded") || a.Header.Get("Retry-After") == "" {
		t.Errorf("a second stream: %s %s", a.Status, a.body)
	}
	c.body.Close()
	eventually(t, func() bool { return w.reader.Watches() == 0 })
	w.reader.SetErr(fmt.Errorf("%w: away", discovery.ErrUnavailable))
	if a := w.get("/v1/watch?shop=42"); a.StatusCode != 503 || !strings.Contains(a.body, "unavailable") {
		t.Errorf("without ZooKeeper: %s %s", a.Status, a.body)
	}
}

// TestStreamKeysOfAll: all streams together watch so many answers, and those of one
// that has ended are free again.
func TestStreamKeysOfAll(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.MaxWatchedKeys = 5 })
	c := w.watch("shop=1&shop=2&shop=3", "")
	c.expect("snapshot")
	if a := w.do("HEAD", "/v1/watch?shop=4&shop=5&shop=6", ""); a.StatusCode != 503 {
		t.Fatalf("6 keys in all: %s", a.Status) // a GET would go on
	}
	if a := w.get("/v1/watch?shop=4&shop=5&shop=6"); a.StatusCode != 503 || !strings.Contains(a.body, "more than 5") || a.Header.Get("Retry-After") == "" {
		t.Errorf("6 keys in all: %s %s", a.Status, a.body)
	}
	w.watch("shop=4&shop=5", "").expect("snapshot")
	c.body.Close()
	eventually(t, func() bool {
		return w.do("HEAD", "/v1/watch?shop=4&shop=5&shop=6", "").StatusCode == 200
	})
}

// TestStreamEnds: the last event says why.
func TestStreamEnds(t *testing.T) {
	w := newWorld(t, func(cfg *httpapi.Config) { cfg.Heartbeat = 10 * time.Millisecond })
	c := w.watch("shop=42&shop=43", "")
	c.expect("snapshot")
	c.expect("snapshot")
	c.expect("synced")
	c.expect("age")
	// An outage of one shop is no change, and neither is one of all that answers
	// are still good for.
	w.reader.SetShopErr("42", fmt.Errorf("%w: away", discovery.ErrUnavailable))
	w.reader.SetStaleness(time.Minute, discovery.Stale)
	w.reader.SetShop("43", "ash1")
	if a := c.expect("change").answer(t); a.Key != "shop=43" || a.Cache != "STALE" {
		t.Errorf("%+v", a)
	}
	// What is not known at the beginning is told as soon as it is.
	d := w.watch("shop=42", "")
	wantPrefix(t, d.expectAnswer("snapshot"), "shop=42 503")
	d.expect("synced")
	w.reader.SetShopErr("42", nil)
	wantPrefix(t, d.expectAnswer("change"), "shop=42 200")

	w.reader.SetStaleness(2*time.Hour, discovery.Stale)
	e, _ := c.next()
	for e.name == "age" || e.name == "unavailable" { // a shop may be looked at before the regions are
		e, _ = c.next()
	}
	if e.name != "end" || !strings.Contains(e.data, `"unavailable"`) {
		t.Errorf("%+v", e)
	}
	if _, more := c.next(); more {
		t.Error("something follows the end")
	}
	w.reader.SetStaleness(0, discovery.Hit)
	c = w.watch("shop=42", "")
	c.expect("snapshot")
	c.expect("synced")
	done := make(chan error, 1)
	go func() { done <- w.server.Shutdown(context.Background()) }()
	if e := c.expect("end"); !strings.Contains(e.data, `"shutting-down"`) {
		t.Errorf("%+v", e)
	}
	if _, more := c.next(); more {
		t.Error("something follows the end")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestSlowReader: who does not read is cut off with a reason, takes no memory for
// what it does not read, and holds up nobody.
func TestSlowReader(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.SlowReader, cfg.Registerer = 300*time.Millisecond, registry
	})
	dialer := net.Dialer{}
	slow, err := dialer.DialContext(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if err := slow.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(slow, "GET /v1/watch?shop=42&datacenters HTTP/1.1\r\nHost: a\r\n\r\n")
	quick := w.watch("shop=42&datacenters", "")
	quick.expect("snapshot")
	quick.expect("snapshot")
	quick.expect("synced")
	ended := func() bool { return counterValue(t, registry, "magellan_http_stream_ends_total", "slow-reader") == 1 }
	events := 0
	for ; !ended(); events++ {
		if events == 100_000 {
			t.Fatal("it is never cut off")
		}
		w.reader.SetShop("42", "ash"+strconv.Itoa(2-events%2))
		if a := quick.expect("change").answer(t); a.Key != "shop=42" || a.Status != 200 {
			t.Fatalf("%+v", a)
		}
	}
	// What it reads in the end is whole, is less than there was, and says why.
	if err := slow.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(slow), nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, body: res.Body, scan: bufio.NewScanner(res.Body), giveUp: func() { slow.Close() }}
	got, last := 0, sseEvent{}
	for e, ok := c.next(); ok; e, ok = c.next() {
		got, last = got+1, e
	}
	if last.name != "end" || !strings.Contains(last.data, `"slow-reader"`) || got >= events || c.scan.Err() != nil {
		t.Errorf("it read %d of %d events, the last %+v, %v", got, events, last, c.scan.Err())
	}
	t.Logf("%d of %d events were sent to a client that did not read", got, events)
}

// TestSlowReaderPause: who does not read is seldom looked at, who begins to is
// served soon, and the cut is in time.
func TestSlowReaderPause(t *testing.T) {
	const atMost = 10 * time.Second
	looks, full := 0, time.Duration(0)
	for ; full <= atMost; looks++ {
		pause := httpapi.SlowReaderPause(full, atMost)
		if pause > max(20*time.Millisecond, full/4) {
			t.Errorf("full for %v, it is let alone for %v", full, pause)
		}
		full += pause
	}
	if looks > 40 || full > atMost+100*time.Millisecond {
		t.Errorf("looked at %d times, cut off after %v", looks, full)
	}
}

// TestUnreadStream: an answer that is larger than any buffer is given up.
func TestUnreadStream(t *testing.T) {
	registry := prometheus.NewRegistry()
	w := newWorld(t, func(cfg *httpapi.Config) {
		cfg.SlowReader, cfg.Registerer = 50*time.Millisecond, registry
	})
	w.reader.SetBadCitizens("large", largeList(200_000))
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/watch?bad-citizens HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, func() bool { return counterValue(t, registry, "magellan_http_stream_ends_total", "slow-reader") == 1 })
	if a := w.get("/v1/shops/42"); a.StatusCode != 200 {
		t.Error(a.Status)
	}
	if n := w.reader.Watches(); n != 0 {
		t.Errorf("%d watches are left", n)
	}
}

// largeList is a list of bad citizens; the answer is some four times as long.
func largeList(entries int) string {
	var list strings.Builder
	for i := range entries {
		fmt.Fprintf(&list, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	return list.String()
}

// TestUnreadStreams: a large answer that many do not read is in memory once.
func TestUnreadStreams(t *testing.T) {
	const clients = 20
	w := newWorld(t, nil)
	list := largeList(30_000)
	w.reader.SetBadCitizens("large", list)
	before := memory()
	for _, conn := range w.hold(clients, "GET /v1/watch?bad-citizens HTTP/1.1\r\nHost: a\r\n\r\n") {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		// Not more than the beginning.
		if got, err := bufio.NewReaderSize(conn, 1<<10).ReadString('{'); err != nil || !strings.Contains(got, "event: snapshot") {
			t.Fatalf("%q: %v", got, err)
		}
	}
	if took := int(memory()-before) / clients; took > len(list)/2 {
		t.Errorf("each took %d bytes, for a list of %d", took, len(list))
	}
}

// counterValue reads a counter with one label.
func counterValue(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
