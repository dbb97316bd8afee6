// Command recorded makes the recording beside it, of itself: a program that opens 32
// sessions in a step, whose memory C never gives back, and after each step writes its
// heap profile and its statistics. From the folder of package pprof:
//
//	MALLOC_CONF=lg_prof_sample:14 go run -trimpath ./testdata/recorded testdata/recorded
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
	"magellan/cgo/jemalloc/pprof"
)

// place is where the program seems to have been: no such file is read.
const place = "/srv/app/sessions"

type moment struct {
	Live, Internal int64
	Ledger         pprof.Ledger
}

var recording = struct {
	PID     int
	Names   map[uint64][]heapprof.Frame // of Go code, by return address
	Moments []moment
}{PID: os.Getpid(), Names: make(map[uint64][]heapprof.Frame)}

//go:noinline
func openSession(size int) { leaktest.Leak(1, size) }

//go:noinline
func readSettings() { leaktest.Leak(1, 200<<10).Free() }

func main() {
	folder := os.Args[1]
	for range 4 {
		openSession(4 << 20) // what it has from the start
	}
	for step := range 20 {
		record(folder, step)
		for range 32 {
			openSession(64 << 10)
			readSettings()
		}
	}
	text, err := json.Marshal(recording)
	check(err)
	check(os.WriteFile(filepath.Join(folder, "recording.json"), append(text, '\n'), 0o644))
}

func record(folder string, step int) {
	var dump bytes.Buffer
	check(jemalloc.Dump(&dump))
	heap, err := heapprof.Parse(bytes.NewReader(dump.Bytes()), heapprof.Limits{})
	check(err)
	for _, pc := range heap.PCs() {
		if frames := heapprof.GoFrames(pc); frames != nil {
			recording.Names[pc] = frames
		}
	}
	stats, err := jemalloc.ReadStats()
	check(err)
	ledger, err := pprof.ReadLedger()
	check(err)
	recording.Moments = append(recording.Moments, moment{int64(stats.Allocated), int64(stats.Metadata), ledger})
	check(os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d.heap", step)), short(dump.String()), 0o644))
}

// short is a dump whose memory map has only what is executable.
func short(dump string) []byte {
	program, err := os.Executable()
	check(err)
	stacks, maps, _ := strings.Cut(dump, "MAPPED_LIBRARIES:\n")
	var out bytes.Buffer
	out.WriteString(stacks + "MAPPED_LIBRARIES:\n")
	for line := range strings.Lines(maps) {
		if strings.Contains(line, " r-xp ") {
			out.WriteString(strings.ReplaceAll(line, program, place))
		}
	}
	return out.Bytes()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
