//go:build !asan

package pprof_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"magellan/cgo/jemalloc/pprof"
)

// A program that links C code serves what that code holds.
func Example() {
	rec, err := pprof.New(pprof.Config{})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/debug/pprof/native", rec.Native())
	http.Handle("/debug/jeprof/", rec.Handler("/debug/jeprof"))

	// That was it. Now: go tool pprof http://HOST/debug/pprof/native
	server := httptest.NewServer(http.DefaultServeMux)
	defer server.Close()
	resp, err := http.Get(server.URL + "/debug/pprof/native")
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Content-Disposition"))
	// Output: 200 OK attachment; filename="native"
}
