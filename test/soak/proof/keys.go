package proof

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"sync/atomic"

	"magellan/internal/shops"
	"magellan/internal/zk"
)

// The keys of each kind. Shops are kept by ristretto, one watch each; the others
// are children of directories.
const (
	shopCount       = 48
	datacenterCount = 6
	listCount       = 6
	// homeCount datacenters never change, so that a shop's answer and its zxid
	// are the shop's own.
	homeCount = 64
)

const region = "us-east1"

var layout = shops.Layout{Root: shops.DefaultRoot, ShopBuckets: shops.DefaultShopBuckets}

// markers is where each key's marker stands, see writer.
const markers = "/proof"

// kind is one kind of register.
type kind struct {
	name string
	// path and url are where the i-th key stands and is asked for.
	path, url func(i int) string
	// value is what clients shall see after the n-th write, data the bytes that
	// make them see it.
	value func(n int) string
	data  func(i, n int) []byte
	// parse takes the value out of an answer with status 200.
	parse func(body []byte) (string, error)
	// ownZxid: X-Zxid is that of the key's znode.
	ownZxid bool
	// breakable: there may be bytes that do not parse. The sets go on serving
	// the last good value as if it were the newest.
	breakable bool
}

func home(n int) string { return fmt.Sprintf("home-%02d", n%homeCount) }

var kinds = []struct {
	kind
	count int
}{
	{kind{
		name:  "shop",
		path:  func(i int) string { return layout.Shop(fmt.Sprint("shop-", i)) },
		url:   func(i int) string { return fmt.Sprint("/v1/shops/shop-", i) },
		value: home,
		data:  func(_, n int) []byte { return fmt.Appendf(nil, `{"datacenter":%q}`, home(n)) },
		parse: func(body []byte) (string, error) {
			var a struct{ Datacenter string }
			err := json.Unmarshal(body, &a)
			return a.Datacenter, err
		},
		ownZxid: true, breakable: true,
	}, shopCount},
	{kind{
		name:  "datacenter",
		path:  func(i int) string { return layout.Datacenter(fmt.Sprint("moving-", i)) },
		url:   func(i int) string { return fmt.Sprint("/v1/datacenters/moving-", i) },
		value: strconv.Itoa,
		data: func(_, n int) []byte {
			return fmt.Appendf(nil, `{"region":%q,"capacity":1000000000,"assigned":%d,"open":true}`, region, n)
		},
		parse: func(body []byte) (string, error) {
			var a struct{ Assigned json.Number }
			err := json.Unmarshal(body, &a)
			return string(a.Assigned), err
		},
		ownZxid: true,
	}, datacenterCount},
	{kind{
		name:  "list",
		path:  func(i int) string { return layout.BadCitizenList(fmt.Sprint("list-", i)) },
		url:   func(i int) string { return fmt.Sprintf("/v1/bad-citizens/10.0.%d.1", i) },
		value: strconv.Itoa,
		data:  func(i, n int) []byte { return fmt.Appendf(nil, "10.0.%d.1 reason=\"%d\"\n", i, n) },
		parse: func(body []byte) (string, error) {
			var a struct{ Entry struct{ Reason string } }
			err := json.Unmarshal(body, &a)
			return a.Entry.Reason, err // no entry, no reason: absent
		},
	}, listCount},
}

// key is one register with its history.
type key struct {
	kind
	i        int
	name     string // also its marker's
	versions []version

	// acked is the transaction of a write that its writer knows of.
	acked atomic.Int64

	// The rest is the writer's.

	n       int   // of the last write
	version int32 // of the marker
}

func newKeys() []*key {
	var all []*key
	for _, k := range kinds {
		for i := range k.count {
			all = append(all, &key{kind: k.kind, i: i, name: fmt.Sprint(k.name, "-", i)})
		}
	}
	return all
}

func (k *key) marker() string { return markers + "/" + k.name }

// understand takes the key's value out of an answer; ok is false where the
// answer says nothing about it: that there is none now.
func (k *key) understand(status int, body []byte) (value string, ok bool, err error) {
	switch status {
	case http.StatusOK:
		value, err = k.parse(body)
		return value, err == nil, err
	case http.StatusNotFound:
		return absent, true, nil
	case http.StatusBadGateway:
		return unreadable, true, nil
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "", false, nil
	}
	return "", false, fmt.Errorf("status %d: %.300s", status, body)
}

// nodes are what a run begins with.
func nodes(keys []*key) []zk.Op {
	create := func(path string, data []byte) zk.Op { return zk.CreateOp(path, data, zk.CreateOptions{}) }
	ops := []zk.Op{create(layout.Root, nil), create(markers, nil)}
	for _, dir := range []string{layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir(), layout.ShopsDir()} {
		ops = append(ops, create(dir, nil))
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if bucket := path.Dir(k.path(k.i)); k.kind.name == "shop" && !seen[bucket] {
			seen[bucket] = true
			ops = append(ops, create(bucket, nil))
		}
	}
	ops = append(ops, create(layout.Region(region), []byte(`{"open":true}`)))
	for n := range homeCount {
		ops = append(ops, create(layout.Datacenter(home(n)), fmt.Appendf(nil, `{"region":%q,"capacity":1000,"assigned":1,"open":true}`, region)))
	}
	for _, k := range keys {
		ops = append(ops, create(k.marker(), []byte("0")))
	}
	return ops
}
