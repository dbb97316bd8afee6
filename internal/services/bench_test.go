package services_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"magellan/internal/alloctest"
	"magellan/internal/services"
)

// springRecord returns the n-th of many different records of Spring Cloud Zookeeper. Forty
// instances each have a service in common.
func springRecord(n int) services.Znode {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	id := fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", random.Uint32(), random.IntN(1<<16), random.IntN(1<<16), random.IntN(1<<16), random.Uint64()>>16)
	service := n / 40
	return services.Znode{Dir: fmt.Sprintf("svc-%04d", service), Name: id, Data: fmt.Appendf(nil,
		`{"name":"svc-%04[1]d","id":"%[2]s","address":"10.%[3]d.%[4]d.%[5]d","port":%[6]d,"sslPort":null,"payload":{"@class":`+
			`"org.springframework.cloud.zookeeper.discovery.ZookeeperInstance","id":"%[2]s","name":"svc-%04[1]d","metadata":{`+
			`"instance_status":"UP","zone":"eu-%[7]c","version":"1.%[8]d.%[9]d","weight":"%[10]d"}},"registrationTimeUTC":%[11]d,`+
			`"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},`+
			`{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]}}`,
		service, id, random.IntN(8), random.IntN(256), random.IntN(256), 8000+random.IntN(2000),
		'a'+rune(n%3), service%10, n%2, 1+random.IntN(3), 1_764_300_000_000+n)}
}

// TestDecodeAllocates checks how often decoding a record allocates: for the record's text, for
// the instance's texts, for the Instance, its endpoints and its metadata.
func TestDecodeAllocates(t *testing.T) {
	l, n := layout(t, "curator"), 0
	records := make([]services.Znode, 500)
	for i := range records {
		records[i] = springRecord(i)
	}
	if got := alloctest.Fewest(func() {
		if _, err := l.Decode(records[n%len(records)]); err != nil {
			t.Fatal(err)
		}
		n++
	}); got > 5 {
		t.Errorf("Decode allocates %d times, want at most 5", got)
	}
}

// TestSharedMetadata checks that instances with equal metadata share them, and that others do
// not.
func TestSharedMetadata(t *testing.T) {
	l := layout(t, "curator")
	var same, other *services.Instance
	shared := false
	for n := range 100 {
		for _, version := range []string{"1", "2"} {
			r := decode(t, l, fmt.Sprint("i", n), fmt.Sprintf(`{"address":"h%d","payload":{"zone":"a","version":"%s","n":""}}`, n, version))
			i := &r.Instances[0]
			if got, _ := i.Meta("version"); len(i.Metadata) != 3 || got != version {
				t.Fatalf("the metadata are %q, want version %s", i.Metadata, version)
			}
			if version == "2" {
				other = i
				continue
			}
			shared = shared || same != nil && &same.Metadata[0] == &i.Metadata[0]
			same = i
		}
	}
	if !shared || &same.Metadata[0] == &other.Metadata[0] {
		t.Errorf("equal metadata are shared: %t; %q and %q are not equal", shared, same.Metadata, other.Metadata)
	}
}

// BenchmarkSpring decodes many different records. It reports how many bytes a decoded record
// keeps, besides the znode's name.
func BenchmarkSpring(b *testing.B) {
	l := layout(b, "curator")
	znodes := make([]services.Znode, 20_000)
	for n := range znodes {
		znodes[n] = springRecord(n)
	}
	b.Run("time", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(znodes[0].Data)))
		for n := 0; b.Loop(); n++ {
			if _, err := l.Decode(znodes[n%len(znodes)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("kept", func(b *testing.B) {
		for b.Loop() {
			before := heap()
			kept := make([][]services.Instance, len(znodes))
			for n := range kept {
				r, err := l.Decode(znodes[n])
				if err != nil {
					b.Fatal(err)
				}
				kept[n] = r.Instances
			}
			b.ReportMetric(float64(heap()-before)/float64(len(kept)), "B/record")
			runtime.KeepAlive(kept)
		}
	})
	runtime.KeepAlive(znodes)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // sync.Pool keeps its values for one collection more
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkDecode decodes one record of each layout.
func BenchmarkDecode(b *testing.B) {
	for layoutName, file := range map[string]string{
		"curator":   "curator-5.4.0",
		"dubbo":     "dubbo-2.7",
		"kafka":     "version-5",
		"nerve":     "nerve",
		"plain":     "host-port",
		"serverset": "finagle",
	} {
		b.Run(layoutName, func(b *testing.B) {
			l, z := layout(b, layoutName), readInput(b, "testdata/"+layoutName+"/"+file+".in")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Decode(z); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
