package survey_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"magellan/internal/services/survey"
)

// tree is an ensemble in memory: the data of the znodes by path. Those above them exist.
type tree map[string]string

// ephemeral is before the data of an ephemeral znode.
const ephemeral = "(ephemeral)"

// denied is the data of a znode that may not be read.
const denied = "denied"

func (t tree) Read(_ context.Context, at string) (z survey.Znode, err error) {
	data, ok := t[at]
	if data == denied {
		return z, survey.ErrDenied
	}
	data, z.Ephemeral = strings.CutPrefix(data, ephemeral)
	z.Data = []byte(data)
	children := map[string]bool{}
	for other := range t {
		if rest, found := strings.CutPrefix(other, strings.TrimSuffix(at, "/")+"/"); found && rest != "" {
			name, _, _ := strings.Cut(rest, "/")
			children[name] = true
		}
	}
	z.Children = slices.Collect(maps.Keys(children))
	if !ok && len(children) == 0 {
		return z, survey.ErrGone
	}
	return z, nil
}

// with returns the trees joined.
func with(all ...tree) tree {
	joined := tree{}
	for _, t := range all {
		maps.Copy(joined, t)
	}
	return joined
}

func curator(dir string, n int) tree {
	t := tree{}
	for i := range n {
		t[fmt.Sprintf("%s/id%d", dir, i)] = fmt.Sprintf(`{"name":"%s","id":"id%d","address":"10.0.0.%d","port":80,"sslPort":null,"payload":null,"serviceType":"DYNAMIC"}`, path.Base(dir), i, i)
	}
	return t
}

func serverset(dir string) tree {
	return tree{dir + "/member_0000000001": `{"serviceEndpoint":{"host":"10.2.0.7","port":8443},"additionalEndpoints":{},"status":"ALIVE","shard":3}`}
}

// TestWalk: what is recognised of ensembles as people have them.
func TestWalk(t *testing.T) {
	kafka := tree{
		"/brokers/ids/1":       `{"version":5,"host":"b1","port":9092,"jmx_port":-1,"timestamp":"1764300000000","endpoints":["CLIENT://b1:9092"],"listener_security_protocol_map":{"CLIENT":"PLAINTEXT"}}`,
		"/brokers/topics/t":    `{"version":1,"partitions":{"0":[1]}}`,
		"/controller":          `{"version":1,"brokerid":1,"timestamp":"1764300000000"}`,
		"/config/changes":      "",
		"/admin/delete_topics": "",
	}
	for _, tt := range []struct {
		name string
		tree tree
		want string
	}{
		{"nothing", tree{"/a/b": "hello", "/a/c": `{"host":7}`, "/t": "12:30", "/zookeeper/quota": "h:1"}, ""},
		{"Curator", with(curator("/services/cart", 2), curator("/services/blog", 1), tree{"/services/cart/x": "{broken"}), "curator:/services 2 3 1"},
		{"one service", curator("/services/cart", 2), "curator:/services 1 2 0"},
		{"one service at the root", curator("/cart", 2), "curator:/cart 1 2 0"},
		{"deep", with(serverset("/svc/role/prod/cart"), serverset("/svc/role/devel/cart"), serverset("/svc/other/prod/x")), "serverset:/svc 3 3 0"},
		{"two of a kind", with(curator("/a/services/x", 1), curator("/a/services/y", 1), curator("/b/services/x", 1)), "curator:/a/services 2 2 0, curator:/b/services 1 1 0"},
		{"side by side", with(curator("/lb/cart", 1), serverset("/lb/blog")), "serverset:/lb/blog 1 1 0, curator:/lb/cart 1 1 0"},
		{"Kafka", kafka, "kafka:/ 1 1 0"},
		{"Kafka and Solr with a chroot", tree{"/kafka/brokers/ids/1": kafka["/brokers/ids/1"], "/solr/live_nodes/10.2.0.7:8983_solr": ""}, "kafka:/kafka 1 1 0, solr:/solr 1 1 0"},
		{"HBase", tree{"/hbase/rs/h1,16020,1764300000000": "PBUF", "/hbase/master": "PBUF"}, "hbase:/hbase 1 1 0"},
		{"Helix", tree{"/C/LIVEINSTANCES/Server_h1_8098": `{"id":"Server_h1_8098","simpleFields":{}}`, "/C/IDEALSTATES/t": "{}"}, "helix:/C 1 1 0"},
		{"Dubbo", tree{
			"/dubbo/com.acme.Cart/providers/dubbo%3A%2F%2F10.2.0.7%3A20880%2Fcom.acme.Cart%3Fversion%3D1.0": "",
			"/dubbo/com.acme.Cart/consumers/consumer%3A%2F%2F10.2.0.9%2Fcom.acme.Cart":                      "",
			"/dubbo/com.acme.Blog/providers/tri%3A%2F%2F10.2.0.7%3A50051%2Fcom.acme.Blog":                   "",
		}, "dubbo:/dubbo 2 2 0"},
		{"providers that are not Dubbo's", curator("/services/providers", 2), "curator:/services 1 2 0"},
		{"Druid", tree{
			"/druid/internal-discovery/BROKER/10.2.0.7:8082": `{"druidNode":{"service":"druid/broker","host":"10.2.0.7","plaintextPort":8082}}`,
			"/druid/announcements/10.2.0.7:8083":             `{"name":"10.2.0.7:8083","host":"10.2.0.7:8083","type":"historical"}`,
		}, "druid:/druid 1 1 0"},
		{"nerve", tree{"/nerve/cart/i-9_0000000004": `{"host":"10.2.0.7","port":8443,"name":"i-9","labels":{"az":"a"}}`}, "nerve:/nerve 1 1 0"},
		{"home-made", tree{"/lb/cart/n_1": "10.2.0.7:8443", "/lb/cart/n_2": `{"host":"h2","port":80}`, "/lb/cart/n_3": "{broken"}, "plain:/lb 1 2 1"},
		{"names", tree{"/lb/cart/10.2.0.7:8443": ephemeral, "/lb/blog/10.2.0.8:80": ephemeral}, "plain:/lb 2 2 0"},
		{"configuration", tree{"/conf/db": "db1:5432", "/conf/mode": "fast", "/conf/size": "12", "/config/app/db": "10.0.0.1:3306"}, ""},
		{"Kafka beside services", with(curator("/apps/cart", 1), tree{"/apps/kafka/brokers/ids/1": kafka["/brokers/ids/1"]}), "curator:/apps/cart 1 1 0, kafka:/apps/kafka 1 1 0"},
		{"services in Solr's chroot", with(curator("/solr/svc/a", 1), tree{"/solr/live_nodes/10.2.0.7:8983_solr": ""}), "solr:/solr 1 1 0, curator:/solr/svc 1 1 0"},
		{"services among others", with(curator("/r/x", 1), curator("/r/x/sub", 1), serverset("/r/x/other")), "curator:/r/x 1 1 0, serverset:/r/x/other 1 1 0 overlaps, curator:/r/x/sub 1 1 0 overlaps"},
		{"very deep", with(curator("/a/b/c/d/e/f/g/h/i/j/k", 1), curator("/a/x", 1)), "curator:/a/b/c/d/e/f/g/h/i/j 1 1 0, curator:/a/x 1 1 0"},
		{"odd names", with(curator("/services/caf\u00e9 1", 1), curator("/services/b%2Fc", 1)), "curator:/services 2 2 0"},
	} {
		report, err := survey.Walk(context.Background(), tt.tree, survey.Config{Path: "/"})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, f := range report.Found {
			line := fmt.Sprintf("%v %d %d %d", f.Mount, f.Services, f.Instances, f.Broken)
			if f.Overlaps != nil {
				line += " overlaps"
			}
			got = append(got, line)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %q, want %s", tt.name, got, tt.want)
		}
	}
}

// TestBounds: what is not read is said, and what cannot be read is an error.
func TestBounds(t *testing.T) {
	ctx := context.Background()
	all := with(curator("/services/cart", 20), tree{"/secret": denied, "/private": denied})
	report, err := survey.Walk(ctx, all, survey.Config{Path: "/", MaxZnodes: 10})
	if err != nil || !report.Cut || report.Znodes > 10 || report.Denied != 2 || report.DeniedPath != "/private" {
		t.Errorf("%+v, %v", report, err)
	}
	if report, err = survey.Walk(ctx, all, survey.Config{Path: "/services"}); err != nil || report.Cut || report.Znodes != 22 || len(report.Found) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if _, err = survey.Walk(ctx, all, survey.Config{Path: "/none"}); !errors.Is(err, survey.ErrGone) {
		t.Errorf("a path that does not exist: %v", err)
	}
	away := errors.New("away")
	if _, err = survey.Walk(ctx, failing{all, away}, survey.Config{Path: "/"}); !errors.Is(err, away) {
		t.Errorf("an ensemble that goes away: %v", err)
	}
	deep := tree{strings.Repeat("/x", 40) + "/10.2.0.7:80": ""}
	if report, err = survey.Walk(ctx, deep, survey.Config{Path: "/"}); err != nil || !report.Cut {
		t.Errorf("too deep: %+v, %v", report, err)
	}
}

// failing cannot be read below the first level.
type failing struct {
	tree
	err error
}

func (f failing) Read(ctx context.Context, at string) (survey.Znode, error) {
	if strings.Count(at, "/") > 1 {
		return survey.Znode{}, f.err
	}
	return f.tree.Read(ctx, at)
}
