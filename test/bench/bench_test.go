package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"magellan/internal/shops"
)

func TestHotShopsDiffer(t *testing.T) {
	for _, short := range []bool{false, true} {
		d := (&runCmd{Short: short}).sizes().dataset
		seen := map[string]bool{}
		for i := range d.hot {
			name := d.hotShop(i)
			if seen[name] {
				t.Fatalf("%d hot shops of %d: %s is there twice", d.hot, d.shops, name)
			}
			seen[name] = true
			if back, ok := layout.ShopName(layout.Shop(name)); !ok || back != name {
				t.Fatalf("%s is no name of a shop", name)
			}
		}
		if d.hot%lookupShops != 0 {
			t.Errorf("%d hot shops do not fill lookups of %d", d.hot, lookupShops)
		}
	}
}

func TestWatchedShopsAreHot(t *testing.T) {
	for _, short := range []bool{false, true} {
		s := (&runCmd{Short: short}).sizes()
		if s.watched > s.hot || s.watched%lookupShops != 0 {
			t.Errorf("%d shops are watched of %d: want some of them, and whole lookups of %d", s.watched, s.hot, lookupShops)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]int64, 100)
	for i := range hundred {
		hundred[i] = int64(i + 1)
	}
	for _, c := range []struct {
		sorted  []int64
		percent int
		want    float64
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:99], 99, 99}, {hundred[:3], 50, 2}, {hundred[:1], 50, 1}, {hundred[:1], 99, 1},
	} {
		if got := quantile(c.sorted, c.percent); got != c.want {
			t.Errorf("quantile of 1 to %d, %d %%: %v, want %v", len(c.sorted), c.percent, got, c.want)
		}
	}
	if got, want := delaysOf([]int64{3000, -1000, 2000}), (delays{p50: 2, p99: 3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBody(t *testing.T) {
	body := appendShopBody(nil, 7)
	if len(body) != 150 {
		t.Errorf("%d bytes, want 150: %s", len(body), body)
	}
	var answer map[string]string
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	shop, err := shops.DecodeShop(shopName(7), shopData(7))
	if err != nil || answer["shop"] != shopName(7) || answer["datacenter"] != shop.Datacenter {
		t.Errorf("%v is not what %+v (%v) is answered by", answer, shop, err)
	}
}

func TestFiles(t *testing.T) {
	d := dataset{shops: 10_000, hot: 2000, draws: 5000}
	f, err := d.write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	hot := map[string]bool{}
	for i := range d.hot {
		hot[d.hotShop(i)] = true
	}
	asked := map[string]int{}
	for _, line := range lines(t, f.reads) {
		name := strings.TrimPrefix(line, "/v1/shops/")
		if !hot[name] {
			t.Fatalf("%q does not ask for a hot shop", line)
		}
		asked[name]++
	}
	most := 0
	for _, n := range asked {
		most = max(most, n)
	}
	// Under zipf the first of 2,000 has an eighth of all; evenly drawn it had 2.5.
	if most < d.draws/20 {
		t.Errorf("the shop asked for most often has %d of %d requests: that is not zipf", most, d.draws)
	}
	looked := map[string]bool{}
	for _, line := range lines(t, f.lookups) {
		var body struct{ Shops []string }
		if err := json.Unmarshal([]byte(line), &body); err != nil {
			t.Fatal(err)
		}
		for _, name := range body.Shops {
			looked[name] = hot[name]
		}
	}
	if len(looked) != d.hot {
		t.Errorf("the lookups ask for %d shops, want each of %d", len(looked), d.hot)
	}
	if n := len(lines(t, f.znodes)); n != d.hot {
		t.Errorf("%d znodes, want %d", n, d.hot)
	}
}

func lines(t *testing.T, name string) []string {
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	scan := bufio.NewScanner(bytes.NewReader(content))
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		all = append(all, scan.Text())
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		v        float64
		decimals int
		want     string
	}{
		{0, 0, "0"}, {999.6, 0, "1,000"}, {1234567.25, 1, "1,234,567.2"}, {-123, 0, "-123"}, {-1234, 0, "-1,234"}, {0.954, 2, "0.95"},
	} {
		if got := number(c.v, c.decimals); got != c.want {
			t.Errorf("number(%v, %d) = %q, want %q", c.v, c.decimals, got, c.want)
		}
	}
}

func TestRatioIsTakenWithinARound(t *testing.T) {
	// The machine was ten times as slow in the second round, for both.
	if got := ratio([]float64{200, 20, 220}, []float64{100, 10, 100}); got != 2 {
		t.Errorf("got %v, want 2", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median is %v, want 2.5", got)
	}
}

func TestGoal(t *testing.T) {
	for _, c := range []struct {
		g    goal
		want bool
	}{
		{goal{got: 0.96, wanted: 0.95}, true},
		{goal{got: 0.94, wanted: 0.95}, false},
		{goal{got: 1.36, wanted: 1.35, atMost: true}, false},
		{goal{got: 1.35, wanted: 1.35, atMost: true}, true},
	} {
		if got := c.g.met(); got != c.want {
			t.Errorf("%+v: met is %v", c.g, got)
		}
	}
}

func TestReportKeepsTheIntroduction(t *testing.T) {
	c := &runCmd{Out: filepath.Join(t.TempDir(), "doc.md")}
	for old, want := range map[string]string{
		"something else\n":                "report\n",
		"intro\n" + reportFollows + "old": "intro\n" + reportFollows + "\nreport\n",
	} {
		if err := os.WriteFile(c.Out, []byte(old), 0o644); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second report replaces the first
			if err := c.write("report\n"); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(c.Out); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestBenchmarkLine(t *testing.T) {
	const out = `goos: linux
BenchmarkShopLoopback/magellan-2         	   81224	     14801 ns/op	     512 B/op	       7 allocs/op
BenchmarkLookup 	  100	 123.4 ns/op	  2000 answers/s	 16 B/op	 1 allocs/op
PASS
`
	got := benchmarkLine.FindAllStringSubmatch(out, -1)
	if len(got) != 2 || strings.Join(got[0][1:], " ") != "ShopLoopback/magellan 14801 512 7" || strings.Join(got[1][1:], " ") != "Lookup 123.4 16 1" {
		t.Errorf("got %q", got)
	}
}
