package proof

import (
	"encoding/json"
	"errors"
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

// kind is one kind of subjects.
type kind struct {
	name string
	// count is how many subjects there are, and members how many keys each of them has.
	count, members int
	// url is how the i-th subject is asked for, and path where its j-th key stands.
	url  func(i int) string
	path func(i, j int) string
	// dir is the directory of the i-th subject, which is deleted with the last of its
	// keys and created with the first; nil if all directories stay.
	dir func(i int) string
	// value is what clients shall see after the n-th write, data the bytes that
	// make them see it.
	value func(n int) string
	data  func(i, j, n int) []byte
	// parse takes the values of all keys that there are out of an answer with status
	// 200, by their names in it.
	parse func(body []byte) (map[string]string, error)
	// ownZxid: X-Zxid is that of the key's znode. Otherwise, if a subject has several
	// keys, it is the newest of all.
	ownZxid bool
	// breakable: there may be bytes that do not parse. The sets go on serving
	// the last good value as if it were the newest.
	breakable bool
	// ephemeral keys live with a session of their writer's.
	ephemeral bool
	// guarded: the shrink guard may go on serving what is deleted.
	guarded bool
}

func home(n int) string { return fmt.Sprintf("home-%02d", n%homeCount) }

// only is the value of a subject that has one key, which is absent if the text is empty.
func only(text string) map[string]string {
	if text == absent {
		return nil
	}
	return map[string]string{"": text}
}

var kinds = []kind{
	{
		name: "shop", count: shopCount, members: 1,
		url:   func(i int) string { return fmt.Sprint("/v1/shops/shop-", i) },
		path:  func(i, _ int) string { return layout.Shop(fmt.Sprint("shop-", i)) },
		value: home,
		data:  func(_, _, n int) []byte { return fmt.Appendf(nil, `{"datacenter":%q}`, home(n)) },
		parse: func(body []byte) (map[string]string, error) {
			var a struct{ Datacenter string }
			err := json.Unmarshal(body, &a)
			return only(a.Datacenter), err
		},
		ownZxid: true, breakable: true,
	}, {
		name: "datacenter", count: datacenterCount, members: 1,
		url:   func(i int) string { return fmt.Sprint("/v1/datacenters/moving-", i) },
		path:  func(i, _ int) string { return layout.Datacenter(fmt.Sprint("moving-", i)) },
		value: strconv.Itoa,
		data: func(_, _, n int) []byte {
			return fmt.Appendf(nil, `{"region":%q,"capacity":1000000000,"assigned":%d,"open":true}`, region, n)
		},
		parse: func(body []byte) (map[string]string, error) {
			var a struct{ Assigned json.Number }
			err := json.Unmarshal(body, &a)
			return only(string(a.Assigned)), err
		},
		ownZxid: true, guarded: true,
	}, {
		name: "list", count: listCount, members: 1,
		url:   func(i int) string { return fmt.Sprintf("/v1/bad-citizens/10.0.%d.1", i) },
		path:  func(i, _ int) string { return layout.BadCitizenList(fmt.Sprint("list-", i)) },
		value: strconv.Itoa,
		data:  func(i, _, n int) []byte { return fmt.Appendf(nil, "10.0.%d.1 reason=\"%d\"\n", i, n) },
		parse: func(body []byte) (map[string]string, error) {
			var a struct{ Entry struct{ Reason string } }
			err := json.Unmarshal(body, &a)
			return only(a.Entry.Reason), err // no entry, no reason: absent
		},
		guarded: true,
	},
	curatorServices, plainServices,
}

// subject is what one request asks about. Mostly it has one key; a service has one for
// each instance.
type subject struct {
	kind
	i    int
	name string
	keys []*key

	// acked is the newest transaction that the writer of its keys knows of.
	acked atomic.Int64
	// gone: its directory does not exist. It is the writer's.
	gone bool
}

// key is one register with its history.
type key struct {
	*subject
	j        int
	id       string // in the subject's answers
	name     string // also its marker's
	versions []version

	// The rest is the writer's.

	n       int   // of the last write
	version int32 // of the marker
}

func newSubjects() (all []*subject) {
	for _, k := range kinds {
		for i := range k.count {
			s := &subject{kind: k, i: i, name: fmt.Sprint(k.name, "-", i), gone: k.dir != nil}
			for j := range k.members {
				one := &key{subject: s, j: j, name: s.name}
				if k.members > 1 {
					one.id = instance(j)
					one.name += "-" + one.id
				}
				s.keys = append(s.keys, one)
			}
			all = append(all, s)
		}
	}
	return all
}

// keysOf returns the keys of all subjects.
func keysOf(subjects []*subject) (all []*key) {
	for _, s := range subjects {
		all = append(all, s.keys...)
	}
	return all
}

func (s *subject) url() string  { return s.kind.url(s.i) }
func (k *key) path() string     { return k.kind.path(k.i, k.j) }
func (k *key) marker() string   { return markers + "/" + k.name }
func (k *key) last() version    { return k.versions[len(k.versions)-1] }
func (k *key) isPresent() bool  { return k.last().value != absent }
func (k *key) bytes() []byte    { return k.kind.data(k.i, k.j, k.n) }
func (k *key) add(v version)    { k.versions = append(k.versions, v); k.acked.Store(v.zxid) }
func (s *subject) home() string { return s.kind.dir(s.i) }

// present returns how many of the subject's keys have a value.
func (s *subject) present() (n int) {
	for _, k := range s.keys {
		if k.isPresent() {
			n++
		}
	}
	return n
}

// newest is the newest transaction that has made what the subject's keys hold.
func (s *subject) newest() (zxid int64) {
	for _, k := range s.keys {
		zxid = max(zxid, k.last().zxid)
	}
	return zxid
}

// errPhantom says that an answer has something in it that never was.
var errPhantom = errors.New("there never was")

// understand takes the values of the subject's keys out of an answer; ok is false
// where the answer says nothing about them: that there is none now.
func (s *subject) understand(status int, body []byte) (values []string, ok bool, err error) {
	values = make([]string, len(s.keys)) // absent
	switch status {
	case http.StatusOK:
		found, err := s.parse(body)
		if err != nil {
			return nil, false, err
		}
		for i, k := range s.keys {
			values[i] = found[k.id]
			delete(found, k.id)
		}
		for id := range found {
			return nil, false, fmt.Errorf("%w %q: %.300s", errPhantom, id, body)
		}
		return values, true, nil
	case http.StatusNotFound:
		return values, true, nil
	case http.StatusBadGateway:
		for i := range values {
			values[i] = unreadable
		}
		return values, true, nil
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("status %d: %.300s", status, body)
}

// nodes are what a run begins with.
func nodes(subjects []*subject) []zk.Op {
	create := func(path string, data []byte) zk.Op { return zk.CreateOp(path, data, zk.CreateOptions{}) }
	ops := []zk.Op{create(layout.Root, nil), create(markers, nil)}
	for _, dir := range []string{layout.RegionsDir(), layout.DatacentersDir(), layout.BadCitizensDir(), layout.ShopsDir(), curatorPath, plainPath, owners} {
		ops = append(ops, create(dir, nil))
	}
	for i := range writers {
		ops = append(ops, create(ownerDir(i), nil))
	}
	seen := map[string]bool{}
	for _, k := range keysOf(subjects) {
		if bucket := path.Dir(k.path()); k.kind.name == "shop" && !seen[bucket] {
			seen[bucket] = true
			ops = append(ops, create(bucket, nil))
		}
	}
	ops = append(ops, create(layout.Region(region), []byte(`{"open":true}`)))
	for n := range homeCount {
		ops = append(ops, create(layout.Datacenter(home(n)), fmt.Appendf(nil, `{"region":%q,"capacity":1000,"assigned":1,"open":true}`, region)))
	}
	for _, k := range keysOf(subjects) {
		ops = append(ops, create(k.marker(), []byte("0")))
	}
	return ops
}
