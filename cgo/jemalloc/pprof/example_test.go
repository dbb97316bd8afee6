//go:build !asan

package pprof_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof" // Go's own profiles, beside those of C

	"magellan/cgo/jemalloc/pprof"
)

// A program that links C code serves what that code holds.
func Example() {
	rec, err := pprof.New(pprof.Config{})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("GET /debug/pprof/native", rec.Native())
	http.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))

	// That was it. Now: go tool pprof http://HOST/debug/pprof/native
	server := httptest.NewServer(http.DefaultServeMux)
	defer server.Close()
	for _, profile := range []string{"native", "heap"} {
		resp, err := http.Get(server.URL + "/debug/pprof/" + profile)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status, resp.Header.Get("Content-Disposition"))
	}
	// Output:
	// 200 OK attachment; filename="native"
	// 200 OK attachment; filename="heap"
}
