// Command prefixed allocates through ristretto's z, which calls jemalloc under names
// with the prefix je_, and writes its own native profile to standard output.
package main

import (
	"log"
	"net/http/httptest"
	"os"

	"github.com/dgraph-io/ristretto/v2/z"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/pprof"
)

//go:noinline
func handler() []byte { return z.Calloc(32<<20, "handler") }

func main() {
	if err := jemalloc.Check(); err != nil {
		log.Fatal(err)
	}
	rec, err := pprof.New(pprof.Config{})
	if err != nil {
		log.Fatal(err)
	}
	block := handler()
	var stats z.MemStats
	if z.ReadMemStats(&stats); stats.Allocated < uint64(len(block)) {
		log.Fatalf("z sees %d bytes allocated, by a jemalloc that has not allocated its %d", stats.Allocated, len(block))
	}
	w := httptest.NewRecorder()
	rec.Native().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	os.Stdout.Write(w.Body.Bytes())
	z.Free(block)
}
