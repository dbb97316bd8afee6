package services

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
	"unique"
)

const (
	// maxUnzipped is the greatest size of a record that is compressed. ZooKeeper itself
	// allows 1 MiB by default, and a record of a few kilobytes must not take more memory
	// than that.
	maxUnzipped = 1 << 20
	// bom is the byte order mark, which some programs put at the start of a UTF-8 text.
	bom = "\xef\xbb\xbf"
	// gzipMagic are the first bytes of what gzip has written. No JSON text starts so.
	gzipMagic = "\x1f\x8b"

	// maxEndpoints is how many endpoints, or instances, one record can have at most.
	maxEndpoints = 1000
	// maxMetadata is how many items of metadata an instance can have at most.
	maxMetadata = 1000

	// sharedTexts and sharedMetadata are how many of these a keeper knows.
	sharedTexts, sharedMetadata = 512, 128
	// maxSharedText is the greatest length of a text that a keeper remembers, in bytes.
	maxSharedText = 64
	// maxSharedItems is the greatest number of items of metadata that a keeper remembers.
	maxSharedItems = 32
	// maxKeptText bounds the memory that a keeper leaves for the next instance, in bytes.
	maxKeptText = 64 << 10
)

// parseFields parses the bytes of a znode, which may be compressed with gzip: Curator's
// option "compressed" does that, which Druid uses. The caller has to call free.
func parseFields(data []byte) (jsonFields, error) {
	text, err := recordText(data)
	if err != nil {
		return jsonFields{}, err
	}
	d, err := parseJSON(text)
	if err != nil {
		return jsonFields{}, err
	}
	f := d.root().fields()
	if !f.isObject() {
		d.free()
		return jsonFields{}, errors.New("not a JSON object")
	}
	return f, nil
}

// recordText returns a copy of a znode's bytes without compression, and without a byte order
// mark and white space around them. If nothing is left, that is an error.
func recordText(data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte(gzipMagic)) {
		unzipped, err := gunzip(data)
		if err != nil {
			return "", err
		}
		data = unzipped
	}
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte(bom)))
	if len(data) == 0 {
		return "", errors.New("the znode holds no data")
	}
	return string(data), nil
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("not valid gzip: %w", err)
	}
	unzipped, err := io.ReadAll(io.LimitReader(r, maxUnzipped+1))
	if err != nil {
		return nil, fmt.Errorf("not valid gzip: %w", err)
	}
	if len(unzipped) > maxUnzipped {
		return nil, fmt.Errorf("more than %d bytes after decompression", maxUnzipped)
	}
	return unzipped, nil
}

// neededText returns a field that the record needs, and that is a string.
func (f jsonFields) neededText(key string) (string, error) {
	switch v := f.get(key); v.kind() {
	case 0:
		return "", fmt.Errorf("field %q is missing", key)
	case '"':
		return v.text(), nil
	default:
		return "", fmt.Errorf("field %q is no string", key)
	}
}

// neededObject returns a field that the record needs, and that is an object.
func (f jsonFields) neededObject(key string) (jsonFields, error) {
	o := f.object(key)
	switch {
	case !f.has(key):
		return o, fmt.Errorf("field %q is missing", key)
	case !o.isObject():
		return o, fmt.Errorf("field %q is no object", key)
	}
	return o, nil
}

// host returns a field that the record needs, and that is a host.
func (f jsonFields) host(key string) (string, error) {
	text, err := f.neededText(key)
	if err != nil {
		return "", err
	}
	host, err := parseHost(text)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", key, err)
	}
	return host, nil
}

// port returns a field that is a port. It is 0 if the field is missing, null, 0 or -1. Some
// programs write a port as a string.
func (f jsonFields) port(key string) (uint16, error) {
	v := f.get(key)
	switch v.kind() {
	case 0:
		return 0, nil
	case '"':
		port, err := parsePort(v.text())
		if err != nil {
			return 0, fmt.Errorf("field %q: %w", key, err)
		}
		return port, nil
	}
	if port, err := strconv.ParseUint(v.raw(), 10, 16); err == nil {
		return uint16(port), nil
	}
	n, err := strconv.ParseFloat(v.raw(), 64) // such as 8.08e3
	switch {
	case err != nil:
		return 0, fmt.Errorf("field %q is no number", key)
	case n == -1:
		return 0, nil
	case n < 0 || n > math.MaxUint16 || n != math.Trunc(n):
		return 0, fmt.Errorf("field %q is no port: want a number from 0 to 65535", key)
	}
	return uint16(n), nil
}

// endpoint returns the host and the port that are in the fields with these keys.
func (f jsonFields) endpoint(hostKey, portKey string) (e Endpoint, err error) {
	if e.Host, err = f.host(hostKey); err != nil {
		return Endpoint{}, err
	}
	if e.Port, err = f.port(portKey); err != nil {
		return Endpoint{}, err
	}
	return e, nil
}

// weight returns a field that is a number of 0 or more. ok is false for all else.
func (f jsonFields) weight(key string) (w float64, ok bool) {
	v := f.get(key)
	if v.kind() == 0 {
		return 0, false
	}
	return parseWeight(v.valueText())
}

// parseWeight parses a number of 0 or more. ok is false for all else.
func parseWeight(s string) (w float64, ok bool) {
	w, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(w) || math.IsInf(w, 0) || w < 0 {
		return 0, false
	}
	return w + 0, true // -0 becomes 0
}

// number returns a field that is a whole number. ok is false for all else.
func (f jsonFields) number(key string) (n int64, ok bool) {
	n, err := strconv.ParseInt(f.find(key).raw(), 10, 64)
	return n, err == nil
}

// metadata collects the items of an instance's metadata.
type metadata []Pair

// room returns metadata with room for all fields and so many more items.
func room(f jsonFields, more int) metadata { return make(metadata, 0, f.len()+more) }

// add adds an item. Of two items with the same key the one that was added last counts.
// U+FFFD replaces what is not valid UTF-8.
func (m *metadata) add(key, value string) {
	*m = append(*m, Pair{strings.ToValidUTF8(key, "\uFFFD"), strings.ToValidUTF8(value, "\uFFFD")})
}

// addField adds a field if it is there and is not null.
func (m *metadata) addField(f jsonFields, key string) {
	if v := f.get(key); v.kind() != 0 {
		*m = append(*m, Pair{key, v.valueText()})
	}
}

// addAll adds all fields but those with the given keys, and those that are null.
func (m *metadata) addAll(f jsonFields, but ...string) {
	for e := f.all(); e.more(); {
		if e.kind() != 'n' && !slices.Contains(but, e.key()) {
			*m = append(*m, Pair{e.key(), e.valueText()})
		}
	}
}

// pairs returns the items as [Instance.Metadata] has them.
func (m metadata) pairs() []Pair {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	kept := m[:0]
	for i, pair := range m {
		if i+1 == len(m) || m[i+1].Key != pair.Key {
			kept = append(kept, pair)
		}
	}
	return exact([]Pair(kept))
}

// exact returns a slice without the room that append has left.
func exact[T any](s []T) []T {
	if len(s) == cap(s) {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}

// oneInstance makes a record of one instance. The instance's ID is id, or else the znode's
// name. The first of the endpoints stays the main one, and the others are ordered.
func oneInstance(z Znode, id string, i Instance, m metadata) (Record, error) {
	r := Record{Instances: []Instance{i}}
	if err := completeInstance(z, id, &r.Instances[0], m); err != nil {
		return Record{}, err
	}
	return r, nil
}

// completeInstance is what oneInstance does for one of a record's instances.
func completeInstance(z Znode, id string, i *Instance, m metadata) error {
	i.ID = printable(cmp.Or(id, z.Name))
	i.Metadata = m.pairs()
	var err error
	if i.Tags, err = readTags(i.Metadata); err != nil {
		return err
	}
	switch {
	case i.ID == "":
		return errors.New("the znode has no name")
	case len(i.Endpoints) == 0:
		return errors.New("there is no endpoint")
	case len(i.Endpoints) > maxEndpoints:
		return fmt.Errorf("there are %d endpoints, more than %d", len(i.Endpoints), maxEndpoints)
	case len(i.Metadata) > maxMetadata:
		return fmt.Errorf("there are %d items of metadata, more than %d", len(i.Metadata), maxMetadata)
	}
	i.Endpoints = exact(i.Endpoints)
	slices.SortFunc(i.Endpoints[1:], func(a, b Endpoint) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	keepTexts(z.Name, i)
	return nil
}

// keeper replaces the texts of an instance, which are pieces of a record, by texts that hold
// nothing else. Some texts are shared with other instances; all others of an instance stand
// in one string, which takes one allocation. Equal metadata are shared too, because those of
// a service's instances often are.
//
// A keeper finds shared texts and metadata in small tables, which are indexed by a hash. A new entry
// overwrites the old one, and the pool may drop a whole keeper. Then texts are still shared with
// older instances, because [unique.Make] finds them, but metadata are not.
type keeper struct {
	seed   maphash.Seed
	shared [sharedTexts]string
	// seen are parts of the hashes of values that were met once, and are not shared yet.
	seen     [sharedTexts]uint32
	metadata [sharedMetadata][]Pair

	text []byte // the texts that are not shared, one after the other
	cuts []cut
}

// cut is a text that will be cut out of the string of all texts.
type cut struct {
	to         *string
	start, end int
}

var keepers = sync.Pool{New: func() any { return &keeper{seed: maphash.MakeSeed()} }}

// keepTexts makes an instance independent of the record that it was read from. The instance
// may hold pieces of the znode's name, because [record] keeps the name anyway.
func keepTexts(znode string, i *Instance) {
	k := keepers.Get().(*keeper)
	if i.ID == znode {
		i.ID = znode
	} else {
		k.cut(&i.ID)
	}
	i.Word, i.Zone = k.word(i.Word), k.word(i.Zone)
	for n := range i.Endpoints {
		e := &i.Endpoints[n]
		e.Name = k.word(e.Name)
		k.value(&e.Host, znode)
	}
	for n := range i.Tags {
		i.Tags[n] = k.word(i.Tags[n])
	}
	all, hashes := true, uint64(0)
	for n := range i.Metadata {
		pair := &i.Metadata[n]
		pair.Key = k.word(pair.Key)
		hash, shared := k.value(&pair.Value, znode)
		all, hashes = all && shared, hashes*31+hash
	}
	if n := len(i.Metadata); all && n > 0 && n <= maxSharedItems {
		known := &k.metadata[hashes%sharedMetadata]
		if slices.Equal(*known, i.Metadata) {
			i.Metadata = *known
		} else {
			*known = i.Metadata
		}
	}
	k.finish()
}

// word returns a text that is always shared, because few different ones of its kind are
// expected: keys, tags, zones, statuses and the names of endpoints.
func (k *keeper) word(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > maxSharedText {
		return unique.Make(s).Value()
	}
	known := &k.shared[maphash.String(k.seed, s)%sharedTexts]
	if *known != s {
		*known = unique.Make(s).Value()
	}
	return *known
}

// value keeps a text that other instances may have too, such as a version. The keeper shares it
// from the second time on that it meets it. hash is a hash of the text; it may be 0.
func (k *keeper) value(s *string, znode string) (hash uint64, shared bool) {
	if *s == "" {
		*s = ""
		return 0, true
	}
	if len(*s) > maxSharedText {
		k.cutValue(s, znode)
		return 0, false
	}
	hash = maphash.String(k.seed, *s)
	known, seen := &k.shared[hash%sharedTexts], &k.seen[hash%sharedTexts]
	switch {
	case *known == *s:
	case *seen == uint32(hash>>32):
		*known = unique.Make(*s).Value()
	default:
		*seen = uint32(hash >> 32)
		k.cutValue(s, znode)
		return hash, false
	}
	*s = *known
	return hash, true
}

// cutValue cuts a text out of the znode's name, if it is there, or else out of the string of all
// texts.
func (k *keeper) cutValue(s *string, znode string) {
	if i := strings.Index(znode, *s); i >= 0 {
		*s = znode[i : i+len(*s)]
	} else {
		k.cut(s)
	}
}

// cut keeps a text in the string of all texts. If it is equal to the one before, as the hosts
// of endpoints are, it is there once.
func (k *keeper) cut(s *string) {
	c := cut{s, len(k.text), len(k.text) + len(*s)}
	if n := len(k.cuts); n > 0 && *k.cuts[n-1].to == *s {
		c.start, c.end = k.cuts[n-1].start, k.cuts[n-1].end
	} else {
		k.text = append(k.text, *s...)
	}
	k.cuts = append(k.cuts, c)
}

// finish makes the string of all texts, and gives the keeper to the next instance.
func (k *keeper) finish() {
	text := string(k.text)
	for _, c := range k.cuts {
		*c.to = text[c.start:c.end]
	}
	clear(k.cuts)
	k.text, k.cuts = k.text[:0], k.cuts[:0]
	if cap(k.text) > maxKeptText {
		k.text = nil
	}
	keepers.Put(k)
}

// printable replaces what an ID cannot have by U+FFFD: control characters, which ZooKeeper does
// not allow in the names of znodes either, and bytes that are not valid UTF-8.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return strings.Map(func(r rune) rune {
				if unicode.IsControl(r) {
					return utf8.RuneError
				}
				return r
			}, s)
		}
	}
	return s
}

// shortHash is a short text that tells one name from another.
func shortHash(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	return fmt.Sprintf("%08x", h.Sum32())
}

// baseBelow returns the Base of a layout whose records are in one directory below the path that
// operators know, such as brokers/ids. The path may also be that of the directory itself.
// The service is called as the path's last element, or by its default name if the path is
// the root.
func baseBelow(sub, service string) func(string) (string, string) {
	return func(p string) (string, string) {
		p = path.Clean("/" + p)
		parent := p
		if p == "/"+sub || strings.HasSuffix(p, "/"+sub) {
			parent = path.Clean("/" + strings.TrimSuffix(p, sub))
		}
		name := service
		if parent != "/" {
			name = path.Base(parent)
		}
		return path.Join(parent, sub), name
	}
}

// flat returns the Inside of a layout that has one directory, whose children are all alike.
func flat(children Inside) func(string) Inside {
	return func(dir string) Inside {
		if dir == "" {
			return children
		}
		return Nothing
	}
}
