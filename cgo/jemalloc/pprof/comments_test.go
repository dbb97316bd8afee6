//go:build !asan

package pprof

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/pprof/profile"

	"magellan/cgo/jemalloc"
	"magellan/cgo/jemalloc/heapprof"
	"magellan/cgo/jemalloc/internal/leaktest"
)

// inProcess runs a test once more in a process of its own, with this MALLOC_CONF.
func inProcess(t *testing.T, conf string) (isChild bool) {
	t.Helper()
	if os.Getenv("PPROF_TEST_CONF") != "" {
		return true
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), "PPROF_TEST_CONF=1", "MALLOC_CONF="+conf)
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("MALLOC_CONF=%s: %v\n%s", conf, err, out)
	}
	return false
}

// saysWhy wants the reason why a profile is empty in all that is made of it.
func saysWhy(t *testing.T, url, reason string) {
	t.Helper()
	p, err := profile.ParseData(fetch(t, url+"/debug/pprof/native", 200))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{
		"the profile's comments": strings.Join(p.Comments, "\n"),
		"debug=1":                string(fetch(t, url+"/debug/pprof/native?debug=1", 200)),
	}
	resp, body := request(t, "POST", url+"/debug/jeprof/dump", "")
	if resp.StatusCode != 201 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	shown["a kept dump as text"] = string(fetch(t, url+resp.Header.Get("Location")+"?format=text", 200))
	for what, text := range shown {
		if !strings.Contains(text, reason) {
			t.Errorf("%s: no %q in\n%s", what, reason, text)
		}
	}
}

// A process so young that nothing is sampled: 2^40 is one sample in each TiB.
func TestYoungProcessSaysWhyItsProfileIsEmpty(t *testing.T) {
	if !inProcess(t, "lg_prof_sample:40") {
		return
	}
	s := serve(t, newTestRecorder(t, quiet(t)))
	for _, reason := range []string{
		"the profile is empty: no sample is live, none was taken since the process started",
		"C holds ", "so little is often in no sample, as in a young process",
	} {
		saysWhy(t, s.URL, reason)
	}
	if text := fetch(t, s.URL+"/debug/pprof/native?debug=1", 200); bytes.Contains(text, []byte("prof_accum")) {
		t.Errorf("nothing was sampled, so that nobody knows of prof_accum:\n%s", text)
	}
}

// What was allocated while sampling was off is never seen, also when it is on again.
func TestProfileSaysWhatWasNotSampled(t *testing.T) {
	if !inProcess(t, "prof_active:false") {
		return
	}
	s := serve(t, newTestRecorder(t, quiet(t)))
	saysWhy(t, s.URL, "sampling is off")
	if page := fetch(t, s.URL+"/debug/jeprof/ui/", 200); !bytes.Contains(page, []byte("sampling is off")) {
		t.Errorf("the page of all dumps does not say that sampling is off:\n%s", page)
	}
	defer leaktest.Leak(64, mib).Free()
	if err := jemalloc.SetActive(true); err != nil {
		t.Fatal(err)
	}
	saysWhy(t, s.URL, "it was allocated while sampling was off, or before the profile was reset, and is never seen")
	// It is said of a profile with samples, too.
	defer leaktest.Leak(4, 16*mib).Free()
	saysWhy(t, s.URL, "it was allocated while sampling was off")
}

// Chance alone is no reason to say that something is missing.
func TestMissingIsMoreThanChance(t *testing.T) {
	const rate = 512 << 10
	held := func(n uint64) *heapprof.Dump {
		d := &heapprof.Dump{Rate: rate}
		if n > 0 {
			d.Stacks = []heapprof.Stack{{PCs: []uint64{1}, Inuse: heapprof.Count{Objects: n, Bytes: n * rate * 20}}}
		}
		return d
	}
	for _, c := range []struct {
		name   string
		d      *heapprof.Dump
		counts int64  // MiB
		want   string // in what is said; "" is nothing
	}{
		{"young", held(0), 1, "so little is often in no sample"},
		{"above chance", held(0), 100, "more than chance"},
		{"all is there", held(10), 100, ""},
		{"within the error", held(8), 100, ""},
		{"half is missing", held(10), 200, "some 100.0MiB less than C holds"},
	} {
		got := strings.Join(missing(c.d, Stats{Live: c.counts * mib}), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	// What jemalloc itself took is not missing.
	if got := missing(held(10), Stats{Live: 200 * mib, Internal: 100 * mib}); got != nil {
		t.Errorf("book-keeping is missed: %q", got)
	}
}
