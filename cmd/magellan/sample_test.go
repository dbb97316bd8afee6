package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// sampleDir has what make run imports.
const sampleDir = "../../demo/sample"

// sample generates demo/sample: the same files each time.
func sample() map[string][]byte {
	regions := []struct {
		name        string
		open        bool
		datacenters []string
	}{
		{"us-east1", true, []string{"ash1", "ash2", "ash3", "mia1"}},
		{"us-central1", true, []string{"chi1", "chi2", "dal1", "dal2"}},
		{"us-west1", true, []string{"sea1", "sea2", "sjc1"}},
		{"europe-west1", true, []string{"ams1", "ams2", "dub1", "fra1", "fra2"}},
		{"asia-east1", true, []string{"nrt1", "sin1"}},
		{"australia-south1", false, []string{"syd1", "syd2"}},
	}
	const closed, full = "ash3", "dub1"

	var names []string
	for _, r := range regions {
		names = append(names, r.datacenters...)
	}
	random := rand.New(rand.NewPCG(2019, 7))
	assigned := map[string]int{}
	var shops bytes.Buffer
	shops.WriteString("shop,datacenter\n")
	for shop := 1; shop <= 10_000; shop++ {
		// The least of two: some datacenters have many more shops than others.
		datacenter := names[min(random.IntN(len(names)), random.IntN(len(names)))]
		assigned[datacenter]++
		fmt.Fprintf(&shops, "%d,%s\n", shop, datacenter)
	}

	var regionLines, datacenterLines bytes.Buffer
	regionLines.WriteString("region,open\n")
	for _, r := range regions {
		fmt.Fprintf(&regionLines, "%s,%v\n", r.name, r.open)
		for _, d := range r.datacenters {
			capacity := (assigned[d]/500 + 1 + random.IntN(3)) * 500
			if d == full {
				capacity = assigned[d]
			}
			fmt.Fprintf(&datacenterLines, `{"datacenter":%q,"region":%q,"capacity":%d,"assigned":%d,"open":%v}`+"\n",
				d, r.name, capacity, assigned[d], d != closed)
		}
	}
	return map[string][]byte{
		"regions.csv":       regionLines.Bytes(),
		"datacenters.jsonl": datacenterLines.Bytes(),
		"shops.csv":         shops.Bytes(),
		"fraud.txt": []byte(`# Addresses that were seen with stolen cards. All of them are kept for
# documentation (RFC 5737, RFC 3849): nobody has them.
203.0.113.0/24 reason="credential stuffing"
203.0.113.77 expires=2036-12-01T00:00:00Z reason="card testing"   # longer than the line above, so it wins
198.51.100.23 expires=2019-07-01T00:00:00Z reason="was over long ago"
2001:db8:bad::/48 reason="stolen cards"
`),
		"scrapers.txt": []byte(`# Who reads all prices every minute.
192.0.2.0/28 reason="price scraper"
192.0.2.200
2001:db8:5c4a::1 expires=2036-12-01T00:00:00Z reason="price scraper"
`),
	}
}

// TestSample compares demo/sample with its generator, and checks that all of
// it can be imported.
func TestSample(t *testing.T) {
	files := sample()
	for name, want := range files {
		path := filepath.Join(sampleDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its generator makes (%v): run go test ./cmd/magellan -run TestSample -update", path, err)
		}
	}
	there, err := filepath.Glob(filepath.Join(sampleDir, "*"))
	if err != nil || len(there) != len(files) {
		t.Errorf("%s holds %v, want the %d generated files and nothing else: all of it is imported (%v)", sampleDir, there, len(files), err)
	}
	var out, problems bytes.Buffer
	if code := run(append([]string{"import", "--dry-run"}, there...), os.Stdin, &out, &problems); code != exitOK || problems.Len() > 0 {
		t.Errorf("import --dry-run: exit code %d\n%s", code, &problems)
	}
	if want := "checked 10028 records: 10028 good, 0 bad; nothing was written\n"; out.String() != want {
		t.Errorf("import --dry-run: %q, want %q", &out, want)
	}
}
