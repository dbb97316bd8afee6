package services_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"magellan/internal/services"
)

func layout(t testing.TB, name string) *services.Layout {
	t.Helper()
	l, err := services.LayoutNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLayoutsAreDescribed(t *testing.T) {
	var names []string
	for _, l := range services.Layouts() {
		names = append(names, l.Name)
		if l.Summary == "" || strings.ContainsAny(l.Summary, "\n") || len(l.Summary) > 90 {
			t.Errorf("the summary of %s is %q", l.Name, l.Summary)
		}
		if l.Decode == nil || (l.Service == nil) != (l.Dir == nil) {
			t.Errorf("layout %s lacks a function", l.Name)
		}
	}
	if !slices.IsSorted(names) || slices.Contains(names, "") {
		t.Errorf("the layouts are %q", names)
	}
}

func TestBase(t *testing.T) {
	for _, test := range []struct{ layout, path, wantDir, wantService string }{
		{"kafka", "/", "/brokers/ids", "kafka"},
		{"kafka", "/kafka", "/kafka/brokers/ids", "kafka"},
		{"kafka", "/prod/logs", "/prod/logs/brokers/ids", "logs"},
		{"kafka", "/prod/logs/", "/prod/logs/brokers/ids", "logs"},
		{"kafka", "/prod/logs/brokers/ids", "/prod/logs/brokers/ids", "logs"},
		{"kafka", "/brokers/ids", "/brokers/ids", "kafka"},
		{"kafka", "/mybrokers/ids", "/mybrokers/ids/brokers/ids", "ids"},
		{"solr", "/", "/live_nodes", "solr"},
		{"solr", "/search", "/search/live_nodes", "search"},
		{"solr", "/search/live_nodes", "/search/live_nodes", "search"},
		{"hbase", "/", "/rs", "hbase"},
		{"hbase", "/hbase", "/hbase/rs", "hbase"},
		{"hbase", "/hbase-unsecure", "/hbase-unsecure/rs", "hbase-unsecure"},
		{"hbase", "/hbase/rs", "/hbase/rs", "hbase"},
		{"hbase", "/servers", "/servers/rs", "servers"},
		{"druid", "/druid", "/druid/internal-discovery", "druid"},
		{"druid", "/druid/internal-discovery", "/druid/internal-discovery", "druid"},
		{"helix", "/C", "/C/LIVEINSTANCES", "C"},
		{"helix", "/pinot/C", "/pinot/C/LIVEINSTANCES", "C"},
		{"helix", "/C/LIVEINSTANCES", "/C/LIVEINSTANCES", "C"},
	} {
		dir, service := layout(t, test.layout).Base(test.path)
		if dir != test.wantDir || service != test.wantService {
			t.Errorf("%s: Base(%q) = %q, %q, want %q, %q", test.layout, test.path, dir, service, test.wantDir, test.wantService)
		}
	}
	for _, name := range []string{"curator", "dubbo", "nerve", "plain", "serverset"} {
		if layout(t, name).Base != nil {
			t.Errorf("layout %s has a Base", name)
		}
	}
}

func TestInside(t *testing.T) {
	for _, test := range []struct {
		layout, dir string
		want        services.Inside
	}{
		{"dubbo", "", services.Directories},
		{"dubbo", "com.acme.Cart", services.Directories},
		{"dubbo", "com.acme.Cart/providers", services.Names},
		{"dubbo", "com.acme.Cart/consumers", services.Nothing},
		{"dubbo", "com.acme.Cart/configurators", services.Nothing},
		{"dubbo", "com.acme.Cart/routers", services.Nothing},
		{"dubbo", "com.acme.Cart/providers/x", services.Nothing},
		{"kafka", "", services.Records},
		{"kafka", "1", services.Nothing},
		{"solr", "", services.Names},
		{"hbase", "", services.Names},
		{"helix", "", services.Records},
		{"druid", "", services.Directories},
		{"druid", "BROKER", services.Records},
		{"druid", "BROKER/h:1", services.Nothing},
	} {
		if got := layout(t, test.layout).Inside(test.dir); got != test.want {
			t.Errorf("%s: Inside(%q) = %v, want %v", test.layout, test.dir, got, test.want)
		}
	}
	for _, name := range []string{"curator", "nerve", "plain", "serverset"} {
		if layout(t, name).Inside != nil {
			t.Errorf("layout %s has an Inside", name)
		}
	}
}

func TestServiceAndDir(t *testing.T) {
	l := layout(t, "dubbo")
	for _, test := range []struct{ dir, service string }{
		{"com.acme.Cart/providers", "com.acme.Cart"},
		{"com.acme.Shop%24Cart/providers", "com.acme.Shop$Cart"},
		{"a%2Fb/providers", "a/b"},
		{"a+b*%7E/providers", "a b*~"},
		{"%E5%BC%B5/providers", "張"},
	} {
		if got := l.Service(test.dir); got != test.service {
			t.Errorf("Service(%q) = %q, want %q", test.dir, got, test.service)
		}
		if got := l.Dir(test.service); got != test.dir {
			t.Errorf("Dir(%q) = %q, want %q", test.service, got, test.dir)
		}
	}
	for _, dir := range []string{"com.acme.Cart", "com.acme.Cart/consumers"} {
		if got := l.Service(dir); got != "" {
			t.Errorf("Service(%q) = %q, want none", dir, got)
		}
	}
	// Dubbo would write %2F. Such a directory keeps its name.
	if got, want := l.Service("a%2fb/providers"), "a%2fb"; got != want {
		t.Errorf("Service = %q, want %q", got, want)
	}
}

// FuzzServiceAndDir checks that a service's directory has the service's name.
func FuzzServiceAndDir(f *testing.F) {
	for _, service := range []string{"com.acme.Cart", "com.acme.Shop$Cart", "a b/c+d%2f", "~*\xff", "providers"} {
		f.Add(service)
	}
	f.Fuzz(func(t *testing.T, service string) {
		l := layout(t, "dubbo")
		dir := l.Dir(service)
		if got := l.Service(dir); got != service {
			t.Errorf("Service(Dir(%q)) = %q", service, got)
		}
		if strings.Count(dir, "/") != 1 {
			t.Errorf("Dir(%q) = %q", service, dir)
		}
	})
}

func TestServersetWeights(t *testing.T) {
	l := layout(t, "serverset")
	member := func(n, port int) services.Record {
		return decode(t, l, fmt.Sprintf("member_%d", n),
			fmt.Sprintf(`{"serviceEndpoint":{"host":"10.2.0.7","port":%d},"status":"ALIVE","shard":%d}`, port, n))
	}
	members := []services.Record{member(1, 8001), member(2, 8002), member(3, 8003)}
	for _, test := range []struct {
		name    string
		vectors []string
		want    []float64 // nil if the members have no weights
	}{
		{"no vector", nil, nil},
		{"empty vector", []string{`{}`}, []float64{1, 1, 1}},
		{"shard", []string{`{"vector":[{"select":"shard=2","weight":0.5}]}`}, []float64{1, 0.5, 1}},
		{"member", []string{`{"vector":[{"select":"member=member_3","weight":0}]}`}, []float64{1, 1, 0}},
		{"inet", []string{`{"vector":[{"select":"inet=10.2.0.7:8001","weight":2}]}`}, []float64{2, 1, 1}},
		{"no weight", []string{`{"vector":[{"select":"shard=1"}]}`}, []float64{1, 1, 1}},
		{"the product", []string{
			`{"vector":[{"select":"shard=2","weight":0.5},{"select":"shard=2","weight":4},{"select":"member=member_2","weight":3}]}`,
			`{"vector":[{"select":"inet=10.2.0.7:8002","weight":10}]}`,
		}, []float64{1, 60, 1}},
		{"equal vectors count once", []string{
			`{"vector":[{"select":"shard=2","weight":0.5}]}`,
			`{"vector":[{"weight":0.5,"priority":1,"select":"shard=2"}]}`,
		}, []float64{1, 0.5, 1}},
		{"another priority", []string{
			`{"vector":[{"select":"shard=2","weight":0.5}]}`,
			`{"vector":[{"select":"shard=2","weight":0.5,"priority":2}]}`,
		}, []float64{1, 0.25, 1}},
		{"too large", []string{
			`{"vector":[{"select":"shard=2","weight":1e308},{"select":"shard=2","weight":1e308},{"select":"shard=3","weight":1e999}]}`,
		}, []float64{1, math.MaxFloat64, 1}},
		{"too large times 0", []string{
			`{"vector":[{"select":"shard=2","weight":1e308},{"select":"shard=2","weight":1e308},{"select":"shard=2","weight":0}]}`,
		}, []float64{1, 0, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := slices.Clone(members)
			for n, vector := range test.vectors {
				r := decode(t, l, fmt.Sprintf("vector_%d", n), vector)
				if len(r.Instances) != 0 || r.Rule == nil {
					t.Fatalf("the vector is %+v", r)
				}
				all = append(all, r)
			}
			var got []float64
			for _, i := range l.Combine(all) {
				if i.Weighted != (test.want != nil) {
					t.Errorf("%s: Weighted is %t", i.ID, i.Weighted)
				}
				got = append(got, i.Weight)
			}
			if test.want != nil && !slices.Equal(got, test.want) {
				t.Errorf("the weights are %v, want %v", got, test.want)
			}
			if members[1].Instances[0].Weighted {
				t.Error("Combine has changed a record")
			}
		})
	}
}

func decode(t *testing.T, l *services.Layout, name, data string) services.Record {
	t.Helper()
	r, err := l.Decode(services.Znode{Dir: "cart", Name: name, Data: []byte(data)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestDubboIDs checks that providers which differ in anything are different instances.
func TestDubboIDs(t *testing.T) {
	l := layout(t, "dubbo")
	ids := map[string]bool{}
	for _, query := range []string{"", "%3Fversion%3D1.0", "%3Fversion%3D2.0", "%3Fgroup%3Dblue",
		"%3Fversion%3D1.0%26timestamp%3D1", "%3Fversion%3D1.0%26timestamp%3D2"} {
		r := decode(t, l, "dubbo%3A%2F%2F10.2.0.7%3A20880%2Fcom.acme.Cart"+query, "")
		ids[r.Instances[0].ID] = true
	}
	if len(ids) != 6 {
		t.Errorf("the IDs are %v", ids)
	}
}
