package shops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"magellan/internal/discovery"
)

// DecodeError says why a znode's data is not the record it should be. It wraps
// [discovery.ErrBadData].
type DecodeError struct {
	// Record is what it should have been: shop, region, datacenter or
	// bad-citizen list.
	Record string
	// Name is the last element of the znode's path.
	Name string
	// Field is the field at fault, empty where the whole is no such record.
	Field string
	// Reason says what is wrong with it.
	Reason string
}

// Error names the record, the field and the reason.
func (e *DecodeError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s %q: %v: %s", e.Record, e.Name, discovery.ErrBadData, e.Reason)
	}
	return fmt.Sprintf("%s %q: %v: field %q %s", e.Record, e.Name, discovery.ErrBadData, e.Field, e.Reason)
}

// Unwrap returns [discovery.ErrBadData].
func (e *DecodeError) Unwrap() error { return discovery.ErrBadData }

// DecodeShop decodes the data of a shop's znode, {"datacenter":"ash1"}. Fields
// it does not know are ignored.
//
// Millions of shops name a few datacenters: intern turns the name's bytes into
// a string, without allocating one where it can. [Topology.Intern] is such a
// function; nil makes a new string for each shop. The bytes are the caller's
// data and must not be kept.
//
// A non-nil error is a [*DecodeError].
func DecodeShop(name string, data []byte, intern func([]byte) string) (Shop, error) {
	o := openObject("shop", name, data)
	shop := Shop{Name: name, Datacenter: o.name("datacenter", intern)}
	if o.err != nil {
		return Shop{}, o.err
	}
	return shop, nil
}

// DecodeRegion decodes the data of a region's znode, {"open":true}. Fields it
// does not know are ignored. zxid is the transaction that last changed the
// znode. A non-nil error is a [*DecodeError].
func DecodeRegion(name string, data []byte, zxid int64) (Region, error) {
	o := openObject("region", name, data)
	r := Region{Name: name, Open: o.flag("open"), Zxid: zxid}
	if o.err != nil {
		return Region{}, o.err
	}
	return r, nil
}

// DecodeDatacenter decodes the data of a datacenter's znode,
// {"region":"us-east1","capacity":1000,"assigned":812,"open":true}. Fields it
// does not know are ignored. zxid is the transaction that last changed the
// znode. A non-nil error is a [*DecodeError].
func DecodeDatacenter(name string, data []byte, zxid int64) (Datacenter, error) {
	o := openObject("datacenter", name, data)
	d := Datacenter{
		Name:     name,
		Region:   o.name("region", nil),
		Capacity: o.count("capacity"),
		Assigned: o.count("assigned"),
		Open:     o.flag("open"),
		Zxid:     zxid,
	}
	if o.err != nil {
		return Datacenter{}, o.err
	}
	return d, nil
}

// bom is what some editors and programs put at the start of a UTF-8 text. It is no part of
// what a znode holds.
const bom = "\xef\xbb\xbf"

// object reads the fields of a JSON object, each of which must stand there
// exactly once. It is stricter than json.Unmarshal, which takes the last of two
// equal keys, "Open" for "open" and null for false: of a record that can be read
// in two ways, neither is served. It allocates nothing, for the sake of a cold
// cache that reads a million shops.
type object struct {
	record, znode string
	members       []byte // what follows the opening brace
	err           error  // the first; a *DecodeError
}

func openObject(record, name string, data []byte) object {
	o := object{record: record, znode: name}
	data = bytes.TrimPrefix(data, []byte(bom))
	switch {
	case len(data) == 0:
		o.fail("", "the znode holds no data")
	case !utf8.Valid(data):
		o.fail("", "not valid UTF-8")
	case !json.Valid(data):
		o.fail("", "not valid JSON: "+json.Unmarshal(data, new(json.RawMessage)).Error())
	default:
		if data = skipSpace(data); data[0] != '{' {
			o.fail("", "not a JSON object")
		}
		o.members = data[1:]
	}
	return o
}

func (o *object) fail(field, reason string) {
	if o.err == nil {
		o.err = &DecodeError{Record: o.record, Name: o.znode, Field: field, Reason: reason}
	}
}

// value returns the value of a field, without white space around it; nil after
// an error.
func (o *object) value(field string) (value []byte) {
	if o.err != nil {
		return nil
	}
	for rest := skipSpace(o.members); rest[0] != '}'; {
		var k, v []byte
		if k, v, rest = cutMember(rest); string(k) != field {
			continue
		}
		if value != nil {
			o.fail(field, "stands there twice")
			return nil
		}
		value = v
	}
	if value == nil {
		o.fail(field, "is missing")
	}
	return value
}

// name returns a field that is the name of a znode, made a string by intern.
func (o *object) name(field string, intern func([]byte) string) string {
	value := o.value(field)
	if value == nil {
		return ""
	}
	if value[0] != '"' {
		o.fail(field, "is no string")
		return ""
	}
	var name string
	if b := unquote(value); intern != nil {
		name = intern(b)
	} else {
		name = string(b)
	}
	if err := discovery.ValidateName(name); err != nil {
		o.fail(field, "holds an "+err.Error())
	}
	return name
}

// count returns a field that is a whole number of zero or more.
func (o *object) count(field string) int64 {
	n, err := strconv.ParseInt(string(o.value(field)), 10, 64)
	if err != nil || n < 0 {
		o.fail(field, "is no whole number of zero or more")
	}
	return n
}

// flag returns a field that is true or false.
func (o *object) flag(field string) bool {
	value := string(o.value(field))
	if value != "true" && value != "false" {
		o.fail(field, "is neither true nor false")
	}
	return value == "true"
}

// cutMember cuts "key":value and the comma behind it off the front of the inside
// of an object. It relies on json.Valid having seen the whole.
func cutMember(b []byte) (key, value, rest []byte) {
	end := stringEnd(b)
	key = unquote(b[:end])
	b = skipSpace(b[end:]) // to the colon
	b = skipSpace(b[1:])   // to the value
	end = valueEnd(b)
	value, rest = bytes.TrimRight(b[:end], jsonSpace), b[end:]
	if rest[0] == ',' {
		rest = skipSpace(rest[1:])
	}
	return key, value, rest
}

// valueEnd is the place of the comma or brace that ends the value b starts with.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
}

// stringEnd is the length of the JSON string that b starts with.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// unquote returns what a valid JSON string stands for, without a copy where it
// holds no escape.
func unquote(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b[1 : len(b)-1]
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		panic(err) // json.Valid has seen it
	}
	return []byte(s)
}

const jsonSpace = " \t\r\n"

func skipSpace(b []byte) []byte { return bytes.TrimLeft(b, jsonSpace) }
