// Command static leaks C memory from Go and writes its own native profile to standard
// output. It imports little, so that all of it is built soon, in whichever way.
package main

import (
	"bytes"
	"log"
	"os"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

func main() {
	if err := jemalloc.Check(); err != nil {
		log.Fatal(err)
	}
	leaktest.Leak(4, 16<<20) // so large that each is sampled
	if err := profile(); err != nil {
		log.Fatal(err)
	}
}

func profile() error {
	var text bytes.Buffer
	if err := jemalloc.Dump(&text); err != nil {
		return err
	}
	dump, err := heapprof.Parse(&text, heapprof.Limits{})
	if err != nil {
		return err
	}
	symbols := heapprof.NewSymbolizer(heapprof.SymbolizerConfig{Go: heapprof.GoFrames}).SymbolizeDump(dump)
	return dump.Profile(heapprof.ProfileOptions{Symbols: symbols}).Write(os.Stdout)
}
