package httpapi

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"sync"
	"testing"
)

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"":                               false,
		"gzip":                           true,
		"GZIP":                           true,
		"x-gzip":                         true,
		"gzip, deflate, br, zstd":        true,
		"br;q=1.0, gzip;q=0.8, *;q=0.1":  true,
		"gzip;q=0":                       false,
		"gzip;q=0.000":                   false,
		"gzip;q=0.001":                   true,
		"gzip ; Q = 0.5":                 true,
		"identity":                       false,
		"identity;q=0.5, gzip;q=0.4":     false,
		"identity;q=0.5, gzip;q=0.5":     true,
		"gzip;q=0.5":                     true,
		"*":                              true,
		"*;q=0":                          false,
		"*;q=0, gzip":                    true,
		"gzip;q=0, *":                    false,
		"*, gzip;q=0.5":                  false, // what is not encoded is liked more
		"deflate, br":                    false,
		"gzipped":                        false,
		"gzip;q=2":                       false,
		"gzip;q=1.001":                   false,
		"gzip;q=0.1234":                  false,
		"gzip;q=":                        false,
		"gzip;q=-1":                      false,
		"gzip;q=much":                    false,
		",, ,gzip,":                      true,
		"deflate\ngzip":                  true, // two of the header
		"gzip;q=0\ngzip":                 true,
		"identity;q=0":                   false,
		"identity;q=0, *;q=0, gzip;q=.5": false,
	} {
		var values []string
		if header != "" {
			values = strings.Split(header, "\n")
		}
		if got := acceptsGzip(values); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

// FuzzAcceptsGzip: whatever stands there, the answer is one that a client which
// names gzip nowhere and no "*" cannot be surprised by.
func FuzzAcceptsGzip(f *testing.F) {
	for _, s := range []string{"gzip", "gzip;q=0.5, *", "identity;q=1", ";;q=,=", "x-gzip;q=1.000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lower := strings.ToLower(s)
		if acceptsGzip([]string{s}) && !strings.Contains(lower, "gzip") && !strings.Contains(lower, "*") {
			t.Errorf("%q", s)
		}
	})
}

// TestCompressedOnce: of all who ask for a kept body one has it compressed, and what
// is not kept can be composed for many at once.
func TestCompressedOnce(t *testing.T) {
	body := bytes.Repeat([]byte("203.0.113.7\n"), 10_000)
	var c renderCache[string]
	kept := c.get("list", 0, func() []byte { return body })
	c.work.Lock() // so that all of them come before it is done
	var clients sync.WaitGroup
	got := make([][]byte, 50)
	for i := range got {
		clients.Go(func() { got[i] = kept.compressed() })
	}
	c.work.Unlock()
	clients.Wait()
	for i := range got {
		if &got[i][0] != &got[0][0] {
			t.Fatal("compressed twice")
		}
	}
	if plain := unzip(t, got[0]); !bytes.Equal(plain, body) || cap(got[0]) > 2*len(got[0]) {
		t.Errorf("%d bytes in a buffer of %d became %d", len(got[0]), cap(got[0]), len(plain))
	}
	if !bytes.Equal(got[0], compressKept(body)) {
		t.Error("other bytes the second time")
	}

	compressors := newCompressors()
	for i := range got {
		clients.Go(func() { got[i] = compressors.append([]byte("before"), body[i:]) })
	}
	clients.Wait()
	for i := range got {
		rest, ok := bytes.CutPrefix(got[i], []byte("before"))
		if !ok || !bytes.Equal(unzip(t, rest), body[i:]) {
			t.Errorf("%d: another's body", i)
		}
	}
}

func unzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}
