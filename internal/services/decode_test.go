package services_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"magellan/internal/services"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden decodes testdata/LAYOUT/CASE.in and compares the record with CASE.golden. The
// first line of the input is the directory below the mount, the second one is the znode's
// name, and the rest are its bytes.
func TestGolden(t *testing.T) {
	for _, l := range services.Layouts() {
		inputs, err := filepath.Glob(filepath.Join("testdata", l.Name, "*.in"))
		if err != nil {
			t.Fatal(err)
		}
		if len(inputs) == 0 {
			t.Errorf("layout %s has no golden files", l.Name)
		}
		for _, input := range inputs {
			golden := strings.TrimSuffix(input, ".in") + ".golden"
			t.Run(strings.TrimPrefix(strings.TrimSuffix(input, ".in"), "testdata/"), func(t *testing.T) {
				got := render(l.Decode(readInput(t, input)))
				if *update {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			})
		}
	}
}

func readInput(t testing.TB, file string) services.Znode {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := bytes.SplitN(text, []byte("\n"), 3)
	if len(parts) != 3 {
		t.Fatalf("%s has no two first lines", file)
	}
	return services.Znode{Dir: string(parts[0]), Name: string(parts[1]), Data: parts[2]}
}

// render writes a record so that people can read it.
func render(r services.Record, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "error: %v\n", err)
		return b.String()
	}
	for _, i := range r.Instances {
		fmt.Fprintf(&b, "instance %q\n", i.ID)
		for _, e := range i.Endpoints {
			fmt.Fprintf(&b, "  endpoint %q %s port %d", e.Name, e.Host, e.Port)
			if e.TLS {
				b.WriteString(" tls")
			}
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  status %s %q\n", i.Status, i.Word)
		if i.Weighted {
			fmt.Fprintf(&b, "  weight %g\n", i.Weight)
		}
		if i.Zone != "" {
			fmt.Fprintf(&b, "  zone %q\n", i.Zone)
		}
		if len(i.Tags) > 0 {
			fmt.Fprintf(&b, "  tags %q\n", i.Tags)
		}
		for _, pair := range i.Metadata {
			fmt.Fprintf(&b, "  %s = %q\n", pair.Key, pair.Value)
		}
	}
	if r.Rule != nil {
		fmt.Fprintf(&b, "rule %+v\n", r.Rule)
	}
	if b.Len() == 0 {
		b.WriteString("no instance\n")
	}
	return b.String()
}

// FuzzDecode checks what all layouts promise about their records.
func FuzzDecode(f *testing.F) {
	layouts := services.Layouts()
	for n, l := range layouts {
		inputs, err := filepath.Glob(filepath.Join("testdata", l.Name, "*.in"))
		if err != nil {
			f.Fatal(err)
		}
		for _, input := range inputs {
			z := readInput(f, input)
			f.Add(byte(n), z.Dir, z.Name, z.Data)
		}
	}
	f.Fuzz(func(t *testing.T, layout byte, dir, name string, data []byte) {
		l := layouts[int(layout)%len(layouts)]
		z := services.Znode{Dir: dir, Name: name, Data: bytes.Clone(data)}
		r, err := l.Decode(z)
		if err != nil {
			if r.Instances != nil || r.Rule != nil {
				t.Fatalf("%s: a record beside the error %v", l.Name, err)
			}
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("%s: the error is not valid UTF-8: %q", l.Name, err)
			}
		}
		if !bytes.Equal(z.Data, data) {
			t.Fatalf("%s: Decode has changed the data", l.Name)
		}
		// The znode's buffer is reused for another znode.
		for i := range z.Data {
			z.Data[i] = 'x'
		}
		again, againErr := l.Decode(services.Znode{Dir: dir, Name: name, Data: data})
		if !reflect.DeepEqual(r, again) || fmt.Sprint(err) != fmt.Sprint(againErr) {
			t.Fatalf("%s: two different records of the same znode:\n%s\n%s", l.Name, render(r, err), render(again, againErr))
		}
		checkInstances(t, l, r.Instances)
		if l.Combine != nil {
			combined := l.Combine([]services.Record{r, again})
			if want := 2 * len(r.Instances); len(combined) != want {
				t.Fatalf("%s: Combine made %d instances of %d", l.Name, len(combined), want)
			}
		}
	})
}

var hostName = regexp.MustCompile(`^[\pL\pM\p{Nd}_][\pL\pM\p{Nd}_.-]*$`)

func checkInstances(t *testing.T, l *services.Layout, instances []services.Instance) {
	t.Helper()
	ids := map[string]bool{}
	for _, i := range instances {
		if i.ID == "" || ids[i.ID] {
			t.Fatalf("%s: the ID %q is empty or there twice", l.Name, i.ID)
		}
		ids[i.ID] = true
		if len(i.Endpoints) == 0 || len(i.Endpoints) > 1000 || len(i.Metadata) > 1000 {
			t.Fatalf("%s: %d endpoints and %d items of metadata", l.Name, len(i.Endpoints), len(i.Metadata))
		}
		for _, e := range i.Endpoints {
			addr, err := netip.ParseAddr(e.Host)
			if err == nil && (addr.String() != e.Host || addr.Zone() != "" || addr.Is4In6()) {
				t.Fatalf("%s: the address %q is not canonical", l.Name, e.Host)
			}
			if err != nil && !hostName.MatchString(e.Host) {
				t.Fatalf("%s: the host is %q", l.Name, e.Host)
			}
		}
		if i.Weight < 0 || i.Weight != i.Weight || math.IsInf(i.Weight, 0) {
			t.Fatalf("%s: the weight is %g", l.Name, i.Weight)
		}
		if !slices.IsSortedFunc(i.Metadata, func(a, b services.Pair) int { return strings.Compare(a.Key, b.Key) }) {
			t.Fatalf("%s: metadata is not ordered: %q", l.Name, i.Metadata)
		}
		texts := []string{i.ID, i.Word, i.Zone}
		for n, pair := range i.Metadata {
			if n > 0 && i.Metadata[n-1].Key == pair.Key {
				t.Fatalf("%s: the key %q is there twice", l.Name, pair.Key)
			}
			texts = append(texts, pair.Key, pair.Value)
		}
		for _, e := range i.Endpoints {
			texts = append(texts, e.Name, e.Host)
		}
		for _, text := range texts {
			if !utf8.ValidString(text) {
				t.Fatalf("%s: %q is not valid UTF-8", l.Name, text)
			}
		}
	}
}
