package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"magellan/internal/httpapi"
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
	body := []byte(`{"shop":"42","datacenter":"ash1","region":"us-east1"}` + "\n")
	e := echo.New()
	e.GET("/v1/shops/:shop", func(c echo.Context) error {
		return c.Blob(http.StatusOK, "application/json", body)
	})
	return e
}

// BenchmarkShopLoopback serves over loopback, to a client that allocates
// nothing: what is allocated is the server's.
func BenchmarkShopLoopback(b *testing.B) {
	b.Run("magellan", func(b *testing.B) {
		server := benchServer(b)
		l := listen(b)
		done := make(chan error, 1)
		go func() { done <- server.Serve(l) }()
		getMany(b, l.Addr())
		if err := server.Shutdown(b.Context()); err != nil {
			b.Error(err)
		}
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	b.Run("prebuilt", func(b *testing.B) {
		l := listen(b)
		server := &http.Server{Handler: prebuilt()}
		done := make(chan error, 1)
		go func() { done <- server.Serve(l) }()
		getMany(b, l.Addr())
		if err := server.Shutdown(b.Context()); err != nil {
			b.Error(err)
		}
		<-done
	})
}

// getMany asks for one shop again and again over one connection.
func getMany(b *testing.B, addr net.Addr) {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET /v1/shops/42 HTTP/1.1\r\nHost: magellan\r\n\r\n")
	answers := bufio.NewReader(conn)
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
	b.Run("magellan", func(b *testing.B) { serveMany(b, benchServer(b).Handler()) })
	b.Run("prebuilt", func(b *testing.B) { serveMany(b, prebuilt()) })
}

func serveMany(b *testing.B, handler http.Handler) {
	request, err := http.NewRequestWithContext(httpapi.ConnContext(b.Context(), handler), http.MethodGet, "/v1/shops/42", nil)
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
