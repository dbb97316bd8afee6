package services

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxJSONDepth is how many arrays and objects can be inside one another. It is the limit
	// of encoding/json.
	maxJSONDepth = 10_000
	// fewMembers is up to how many members of an object are searched one after the other. A
	// map finds the members of a larger object, so that no record takes quadratic time.
	fewMembers = 32
	// maxKeptNodes bounds the memory that a document leaves for the next one.
	maxKeptNodes = 1024
)

// document is a parsed JSON text. The parser accepts what encoding/json accepts, and strings
// become what encoding/json makes of them.
//
// Magellan parses a record for each instance when it fills its cache, which may have 200,000. So
// the parser makes one pass over the text, and remembers where each value is. It neither copies nor
// converts a value before somebody reads it. With encoding/json the decoders took eight times
// as long.
type document struct {
	text string
	// nodes are the text's values in the order in which they start. So the members of an
	// object, and the elements of an array, come after it.
	nodes []node
	// keys are the keys that are not plain.
	keys []string
	// large are the members of large objects by their keys, as indexes of nodes.
	large []map[string]int
}

// node is a JSON value. It has no pointers, so that the garbage collector need not look into
// documents.
type node struct {
	// start and end are the value's place in the text, without white space around it.
	start, end int32
	// keyStart is the place of a member's key in the text, without quotes. If it is negative,
	// -1-keyStart is the key's index in document.keys. keyLen is the length of the key.
	keyStart, keyLen int32
	// next is the index of the first node that is not inside of this one.
	next int32
	// members is how many members an object has, and those that are replaced.
	members int32
	// large is the index of a large object in document.large, plus 1.
	large int32
	// plain: a string's text is what stands between its quotes, because nothing is escaped
	// and it is valid UTF-8.
	plain bool
	// replaced: a later member of the same object has the same key. That one counts.
	replaced bool
}

var documents = sync.Pool{New: func() any { return new(document) }}

// parseJSON parses a JSON text. The caller calls free when nothing reads the document any more;
// strings of it can be kept, but hold all of the text.
func parseJSON(text string) (*document, error) {
	d := documents.Get().(*document)
	if d.parseAll(text) {
		return d, nil
	}
	d.free()
	var v json.RawMessage
	// The parser does not know why a text is not valid. Such texts are rare, so encoding/json
	// parses them again and returns the reason.
	return nil, fmt.Errorf("not valid JSON: %w", json.Unmarshal([]byte(text), &v))
}

// isJSON reports whether a text is valid JSON.
func isJSON(text string) bool {
	d := documents.Get().(*document)
	defer d.free()
	return d.parseAll(text)
}

// free gives the document's memory to the next one.
func (d *document) free() {
	if cap(d.nodes) > maxKeptNodes {
		return
	}
	clear(d.keys)
	clear(d.large)
	d.text, d.nodes, d.keys, d.large = "", d.nodes[:0], d.keys[:0], d.large[:0]
	documents.Put(d)
}

// parseAll parses a text. ok is false if that is not valid JSON.
func (d *document) parseAll(text string) (ok bool) {
	if len(text) > math.MaxInt32 {
		return false // ZooKeeper has no such znodes
	}
	d.text = text
	end := d.parse(d.space(0), 0)
	return end >= 0 && d.space(end) == len(text)
}

// space returns the index of the first byte from i on that is not white space.
func (d *document) space(i int) int {
	if i < len(d.text) && d.text[i] > ' ' {
		return i // the usual case, which the compiler inlines
	}
	return d.skipSpace(i)
}

func (d *document) skipSpace(i int) int {
	for i < len(d.text) && (d.text[i] == ' ' || d.text[i] == '\n' || d.text[i] == '\t' || d.text[i] == '\r') {
		i++
	}
	return i
}

// at is true if the byte at i is c.
func (d *document) at(i int, c byte) bool { return i < len(d.text) && d.text[i] == c }

// parse parses the value that starts at i, which is inside of depth others. As all functions
// that it calls, it returns the end of what it has parsed, or -1 if that is not valid.
func (d *document) parse(i, depth int) int {
	if i >= len(d.text) {
		return -1
	}
	n := len(d.nodes)
	d.nodes = append(d.nodes, node{start: int32(i)})
	end, plain := -1, false
	switch c := d.text[i]; c {
	case '"':
		end, plain = d.parseString(i)
	case '{':
		end = d.parseObject(i, depth+1, n)
	case '[':
		end = d.parseArray(i, depth+1)
	case 't':
		end = d.parseWord(i, "true")
	case 'f':
		end = d.parseWord(i, "false")
	case 'n':
		end = d.parseWord(i, "null")
	default:
		end = d.parseNumber(i)
	}
	v := &d.nodes[n]
	v.end, v.next, v.plain = int32(end), int32(len(d.nodes)), plain
	return end
}

func (d *document) parseObject(i, depth, n int) int {
	if depth > maxJSONDepth {
		return -1
	}
	if i = d.space(i + 1); d.at(i, '}') {
		return i + 1
	}
	seen := uint64(0) // the bits of the keys so far; a key whose bit is not among them is new
	for members := 1; ; members++ {
		if !d.at(i, '"') {
			return -1
		}
		end, plain := d.parseString(i)
		if end < 0 {
			return -1
		}
		keyStart, keyLen := i+1, end-i-2
		if !plain {
			key := unquote(d.text[i:end])
			keyStart, keyLen = -1-len(d.keys), len(key)
			d.keys = append(d.keys, key)
		}
		if i = d.space(end); !d.at(i, ':') {
			return -1
		}
		member := len(d.nodes)
		if i = d.parse(d.space(i+1), depth); i < 0 {
			return -1
		}
		d.nodes[member].keyStart, d.nodes[member].keyLen = int32(keyStart), int32(keyLen)
		if members <= fewMembers {
			bit := keyBit(d.key(member))
			if seen&bit != 0 {
				d.replace(n+1, member)
			}
			seen |= bit
		}
		switch i = d.space(i); {
		case d.at(i, ','):
			i = d.space(i + 1)
		case d.at(i, '}'):
			d.nodes[n].members = int32(members)
			if members > fewMembers {
				d.indexObject(n, members)
			}
			return i + 1
		default:
			return -1
		}
	}
}

// keyBit returns a number with one bit set. Two equal keys have the same bit, and most other pairs
// of keys do not.
func keyBit(key string) uint64 {
	if key == "" {
		return 1
	}
	return 1 << ((len(key) + 7*int(key[0]) + 13*int(key[len(key)-1])) % 64)
}

// replace marks a member as replaced by the member last, if both have the same key. The members of
// the object before last are the nodes from first on.
func (d *document) replace(first, last int) {
	if before := d.search(first, last, d.key(last)); before >= 0 {
		d.nodes[before].replaced = true
	}
}

// search returns the member with that key of an object whose members are the nodes from n to
// end. It returns -1 if there is none.
func (d *document) search(n, end int, key string) int {
	for n < end {
		v := &d.nodes[n]
		if int(v.keyLen) == len(key) && d.key(n) == key && !v.replaced {
			return n
		}
		n = int(v.next)
	}
	return -1
}

// indexObject makes a large object's map. The object's members are the last nodes.
func (d *document) indexObject(n, members int) {
	byKey := make(map[string]int, members)
	for m := n + 1; m < len(d.nodes); m = int(d.nodes[m].next) {
		key := d.key(m)
		if before, ok := byKey[key]; ok {
			d.nodes[before].replaced = true
		}
		byKey[key] = m
	}
	d.large = append(d.large, byKey)
	d.nodes[n].large = int32(len(d.large))
}

// key returns the key of the n-th node, which is a member of an object.
func (d *document) key(n int) string {
	v := &d.nodes[n]
	if v.keyStart < 0 {
		return d.keys[-1-v.keyStart]
	}
	return d.text[v.keyStart:][:v.keyLen]
}

func (d *document) parseArray(i, depth int) int {
	if depth > maxJSONDepth {
		return -1
	}
	if i = d.space(i + 1); d.at(i, ']') {
		return i + 1
	}
	for {
		if i = d.parse(i, depth); i < 0 {
			return -1
		}
		switch i = d.space(i); {
		case d.at(i, ','):
			i = d.space(i + 1)
		case d.at(i, ']'):
			return i + 1
		default:
			return -1
		}
	}
}

// parseString parses a string. plain is as in node.
func (d *document) parseString(i int) (end int, plain bool) {
	s, start, escaped, ascii := d.text, i, false, true
	for i++; i < len(s); i++ {
		switch stringBytes[s[i]] {
		case ordinary:
		case quotation:
			return i + 1, !escaped && (ascii || utf8.ValidString(s[start:i]))
		case backslash:
			escaped = true
			if i = endEscape(s, i+1); i < 0 {
				return -1, false
			}
		case beyondASCII:
			ascii = false
		default:
			return -1, false
		}
	}
	return -1, false
}

// What a byte of a string can be.
const (
	ordinary = iota
	quotation
	backslash
	beyondASCII
	control
)

var stringBytes = func() (kinds [256]uint8) {
	for c := range kinds {
		switch {
		case c < ' ':
			kinds[c] = control
		case c >= utf8.RuneSelf:
			kinds[c] = beyondASCII
		}
	}
	kinds['"'], kinds['\\'] = quotation, backslash
	return kinds
}()

// endEscape returns the index of the last byte of an escape sequence, of which i is the index
// of the byte after the backslash.
func endEscape(s string, i int) int {
	if i >= len(s) {
		return -1
	}
	switch s[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i
	case 'u':
		if i+4 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) && isHex(s[i+3]) && isHex(s[i+4]) {
			return i + 4
		}
	}
	return -1
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (d *document) parseWord(i int, word string) int {
	if !strings.HasPrefix(d.text[i:], word) {
		return -1
	}
	return i + len(word)
}

func (d *document) parseNumber(i int) int {
	if d.at(i, '-') {
		i++
	}
	if d.at(i, '0') {
		i++
	} else if i = d.digits(i); i < 0 {
		return -1
	}
	if d.at(i, '.') {
		if i = d.digits(i + 1); i < 0 {
			return -1
		}
	}
	if d.at(i, 'e') || d.at(i, 'E') {
		if i++; d.at(i, '+') || d.at(i, '-') {
			i++
		}
		i = d.digits(i)
	}
	return i
}

// digits parses one digit and more.
func (d *document) digits(i int) int {
	start := i
	for i < len(d.text) && '0' <= d.text[i] && d.text[i] <= '9' {
		i++
	}
	if i == start {
		return -1
	}
	return i
}

// unquote returns the text of a string that is valid JSON.
func unquote(raw string) string {
	text, _ := jsontext.AppendUnquote(nil, raw) // the only error is that U+FFFD replaces something
	return string(text)
}

// value is a value of a document. The zero value stands for a field that is not there.
type value struct {
	d *document
	n int // its index in document.nodes
}

// root is the value that the whole text is.
func (d *document) root() value { return value{d, 0} }

// kind is the first byte of a value: {, [ or " for an object, an array or a string, t, f or n
// for true, false or null, and - or a digit for a number. It is 0 if the value is not there.
func (v value) kind() byte {
	if v.d == nil {
		return 0
	}
	return v.d.text[v.d.nodes[v.n].start]
}

// raw returns the value's text, without white space around it.
func (v value) raw() string {
	if v.d == nil {
		return ""
	}
	return v.d.text[v.d.nodes[v.n].start:v.d.nodes[v.n].end]
}

// key returns the key of a member of an object.
func (v value) key() string { return v.d.key(v.n) }

// text returns the text of a string. It returns "" for all else.
func (v value) text() string {
	if v.kind() != '"' {
		return ""
	}
	raw := v.raw()
	if v.d.nodes[v.n].plain {
		return raw[1 : len(raw)-1]
	}
	return unquote(raw)
}

// fields returns the members of an object. It returns none for all else.
func (v value) fields() jsonFields {
	if v.kind() != '{' {
		return jsonFields{}
	}
	return jsonFields{v}
}

// elements returns the elements of an array. It returns none for all else.
func (v value) elements() elements {
	if v.kind() != '[' {
		return elements{}
	}
	return v.inside()
}

// inside returns all that is directly inside of a value.
func (v value) inside() elements {
	return elements{next: value{v.d, v.n + 1}, end: int(v.d.nodes[v.n].next)}
}

// elements goes through the elements of an array, or the members of an object:
//
//	for e := v.elements(); e.more(); {
//		use(e.value)
//	}
//
// The closure of an iter.Seq would be one allocation for each loop.
type elements struct {
	value
	next value
	end  int
}

// more goes to the next element. It is false if there is none.
func (e *elements) more() bool {
	for e.next.n < e.end {
		e.value = e.next
		node := &e.d.nodes[e.n]
		if e.next.n = int(node.next); !node.replaced {
			return true
		}
	}
	return false
}

// valueText returns a value as metadata has it: a string as it is, and all else as compact
// JSON. It is valid UTF-8.
func (v value) valueText() string {
	raw := v.raw()
	switch {
	case v.kind() == '"':
		return v.text()
	case !strings.ContainsAny(raw, " \n\t\r"):
		return strings.ToValidUTF8(raw, "\uFFFD")
	}
	var b bytes.Buffer
	if json.Compact(&b, []byte(raw)) != nil {
		return ""
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// jsonFields are the members of a JSON object. Unlike with encoding/json and a struct, "Host" is
// another field than "host", and a field of a wrong type does not make the whole record
// unreadable. If a key is there twice, the last one counts. The zero jsonFields are those of a
// value that is no object: it has no fields.
//
// Strings are valid UTF-8: U+FFFD replaces what is not. They hold all of the record's text, of
// which an instance keeps only what it needs; see keeper.
type jsonFields struct{ of value }

// isObject is false for the zero jsonFields.
func (f jsonFields) isObject() bool { return f.of.d != nil }

// free gives the memory of the whole document to the next one.
func (f jsonFields) free() { f.of.d.free() }

// len returns the number of fields, or a few more if a key is there twice.
func (f jsonFields) len() int {
	if !f.isObject() {
		return 0
	}
	return int(f.of.d.nodes[f.of.n].members)
}

// all goes through the fields in the order of the record.
func (f jsonFields) all() elements {
	if !f.isObject() {
		return elements{}
	}
	return f.of.inside()
}

// find returns a field, which may be null.
func (f jsonFields) find(key string) value {
	if !f.isObject() {
		return value{}
	}
	d := f.of.d
	if large := d.nodes[f.of.n].large; large > 0 {
		if n, ok := d.large[large-1][key]; ok {
			return value{d, n}
		}
		return value{}
	}
	n := d.search(f.of.n+1, int(d.nodes[f.of.n].next), key)
	if n < 0 {
		return value{}
	}
	return value{d, n}
}

// get returns a field that is not null.
func (f jsonFields) get(key string) value {
	if v := f.find(key); v.kind() != 'n' {
		return v
	}
	return value{}
}

// has is true if the field is there and is not null.
func (f jsonFields) has(key string) bool { return f.get(key).kind() != 0 }

// is is true if the field is the literal true or false.
func (f jsonFields) is(key, literal string) bool { return f.find(key).raw() == literal }

// text returns a field that is a string. It returns "" for all else.
func (f jsonFields) text(key string) string { return f.find(key).text() }

// object returns a field that is an object. It returns no fields for all else.
func (f jsonFields) object(key string) jsonFields { return f.find(key).fields() }

// array goes through the elements of a field that is an array. There are none for all else.
func (f jsonFields) array(key string) elements { return f.find(key).elements() }
