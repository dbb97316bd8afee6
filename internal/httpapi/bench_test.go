package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
	"magellan/internal/services/servicestest"
	"magellan/internal/shops"
	"magellan/internal/shops/shopstest"
)

// benchServer returns a Server with shops "0" to "9999" in one datacenter.
func benchServer(b *testing.B) *httpapi.Server {
	reader := shopstest.New()
	reader.SetRegion(shops.Region{Name: "us-east1", Open: true})
	reader.SetDatacenter(shops.Datacenter{Name: "ash1", Region: "us-east1", Capacity: 10_000, Open: true})
	for i := range 10_000 {
		reader.SetShop(strconv.Itoa(i), "ash1")
	}
	service, err := shops.New(shops.Config{Reader: reader})
	if err != nil {
		b.Fatal(err)
	}
	server, err := httpapi.New(httpapi.Config{Service: service, Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// prebuilt is what GET /v1/shops/{shop} is measured by: Echo with a path
// parameter and a body that is there already.
func prebuilt() http.Handler {
	return prebuiltBody("/v1/shops/:shop", []byte(`{"shop":"42","datacenter":"ash1","region":"us-east1"}`+"\n"))
}

// prebuiltBody answers with one body on a route.
func prebuiltBody(route string, body []byte) http.Handler {
	e := echo.New()
	e.GET(route, func(c echo.Context) error {
		return c.Blob(http.StatusOK, "application/json", body)
	})
	return e
}

// benchService is the path of a service with 20 instances.
const benchService = "/v1/services/cart"

// benchServices returns a Server with that service.
func benchServices(b testing.TB) *httpapi.Server {
	mirror := servicestest.New("curator:/services")
	for i := range 20 {
		id := fmt.Sprintf("9e3779b9-7f4a-47c1-8000-%012d", i)
		mirror.Set("/services/cart/"+id, fmt.Sprintf(`{"name":"cart","id":%q,"address":"10.2.0.%d","port":8080,"payload":{"zone":"eu-a","version":"1.7.3"}}`, id, i))
	}
	server, err := httpapi.New(httpapi.Config{Services: mirror.Registry(0), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	return server
}

// BenchmarkShopLoopback serves over loopback, to a client that allocates
// nothing: what is allocated is the server's.
func BenchmarkShopLoopback(b *testing.B) {
	b.Run("magellan", func(b *testing.B) { loopback(b, benchServer(b), "/v1/shops/42") })
	b.Run("prebuilt", func(b *testing.B) { loopback(b, &http.Server{Handler: prebuilt()}, "/v1/shops/42") })
}

// BenchmarkServiceLoopback is the same for a service.
func BenchmarkServiceLoopback(b *testing.B) {
	b.Run("magellan", func(b *testing.B) { loopback(b, benchServices(b), benchService) })
	b.Run("prebuilt", func(b *testing.B) {
		loopback(b, &http.Server{Handler: prebuiltBody("/v1/services/:service", bodyOf(b, benchServices(b).Handler(), benchService))}, benchService)
	})
}

// loopback has a server answer a GET of path, until the benchmark ends.
func loopback(b *testing.B, server interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}, path string) {
	l := listen(b)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	getMany(b, l.Addr(), path)
	if err := server.Shutdown(b.Context()); err != nil {
		b.Error(err)
	}
	if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
		b.Error(err)
	}
}

// getMany asks for one answer again and again over one connection.
func getMany(b *testing.B, addr net.Addr, path string) {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: magellan\r\n\r\n")
	answers := bufio.NewReaderSize(conn, 1<<16)
	get := func() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		for { // the body is the only line that ends in "}"
			line, err := answers.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if bytes.HasSuffix(line, []byte("}\n")) {
				return
			}
		}
	}
	get()
	b.ReportAllocs()
	for b.Loop() {
		get()
	}
}

// BenchmarkShopHandler leaves net/http out: a request and a ResponseWriter that
// are used again and again.
func BenchmarkShopHandler(b *testing.B) {
	b.Run("magellan", func(b *testing.B) { serveMany(b, benchServer(b).Handler(), "/v1/shops/42") })
	b.Run("prebuilt", func(b *testing.B) { serveMany(b, prebuilt(), "/v1/shops/42") })
}

// BenchmarkServiceHandler is the same for a service.
func BenchmarkServiceHandler(b *testing.B) {
	b.Run("magellan", func(b *testing.B) { serveMany(b, benchServices(b).Handler(), benchService) })
	b.Run("prebuilt", func(b *testing.B) {
		serveMany(b, prebuiltBody("/v1/services/:service", bodyOf(b, benchServices(b).Handler(), benchService)), benchService)
	})
}

// bodyOf returns the body of an answer.
func bodyOf(b testing.TB, handler http.Handler, path string) []byte {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		b.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func serveMany(b *testing.B, handler http.Handler, path string) {
	request, err := http.NewRequestWithContext(httpapi.ConnContext(b.Context(), handler), http.MethodGet, path, nil)
	if err != nil {
		b.Fatal(err)
	}
	w := &discardWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		w.status = 0
		clear(w.header)
		handler.ServeHTTP(w, request)
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
}

// discardWriter is a ResponseWriter that allocates nothing.
type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *discardWriter) WriteHeader(status int)      { w.status = status }

// BenchmarkLookup answers for 1,000 shops at once.
func BenchmarkLookup(b *testing.B) {
	const many = 1000
	var names strings.Builder
	for i := range many {
		fmt.Fprintf(&names, `,"%d"`, i*7)
	}
	body := []byte(`{"shops":[` + names.String()[1:] + `]}`)
	handler := benchServer(b).Handler()
	reader := bytes.NewReader(body)
	request, err := http.NewRequestWithContext(httpapi.ConnContext(b.Context(), handler), http.MethodPost, "/v1/shops/lookup", reader)
	if err != nil {
		b.Fatal(err)
	}
	w := &discardWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		request.Body = io.NopCloser(reader)
		clear(w.header)
		handler.ServeHTTP(w, request)
	}
	if w.status != http.StatusOK {
		b.Fatalf("status %d", w.status)
	}
	b.ReportMetric(float64(many)*float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}
