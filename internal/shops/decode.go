package shops

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

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

// DecodeShop decodes the data of a shop's znode, {"datacenter":"ash1"}. Fields that it does
// not know are ignored. A non-nil error is a [*DecodeError].
func DecodeShop(name string, data []byte) (Home, error) {
	datacenter, err := decodeShop(name, data, nil)
	return Home{Datacenter: datacenter}, err
}

// decodeShop returns the name of a shop's datacenter. intern makes a string of its bytes,
// which it must not keep; nil makes a new string.
func decodeShop(name string, data []byte, intern func([]byte) string) (datacenter string, err error) {
	o := openObject("shop", name, data, "datacenter")
	defer o.free()
	datacenter = o.name("datacenter", intern)
	if o.err != nil {
		return "", o.err
	}
	return datacenter, nil
}

// DecodeRegion decodes the data of a region's znode, {"open":true}. Fields it
// does not know are ignored. zxid is the transaction that last changed the
// znode. A non-nil error is a [*DecodeError].
func DecodeRegion(name string, data []byte, zxid int64) (Region, error) {
	o := openObject("region", name, data, "open")
	defer o.free()
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
	o := openObject("datacenter", name, data, "region", "capacity", "assigned", "open")
	defer o.free()
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
// equal keys, "Open" for "open" and null for false: a record that can be read in
// two ways is not served.
//
// A cold cache reads a million shops. So that a shop costs no allocation, objects
// come from a pool, and free returns them.
type object struct {
	record, znode string
	decoder       jsontext.Decoder
	input         bytes.Buffer // what decoder reads
	fields        []field
	err           error // the first; a *DecodeError
}

// field is one field that a record needs.
type field struct {
	name  string
	value []byte // without white space around it; nil if it is missing
	twice bool
}

// options let the decoder accept what is not the record's business: a field that
// is ignored may stand there twice, and hold an escape that is no character.
// openObject refuses bytes that are not UTF-8, value a needed field that stands
// there twice, and discovery.ValidateName the U+FFFD that such an escape becomes.
var options = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

var objects = sync.Pool{New: func() any {
	o := new(object)
	o.decoder.Reset(&o.input, options...)
	return o
}}

// openObject reads data and keeps the values of the fields called names.
func openObject(record, znode string, data []byte, names ...string) *object {
	o := objects.Get().(*object)
	o.record, o.znode = record, znode
	for _, name := range names {
		o.fields = append(o.fields, field{name: name})
	}
	data = bytes.TrimPrefix(data, []byte(bom))
	switch {
	case len(data) == 0:
		o.fail("", "the znode holds no data")
	case !utf8.Valid(data):
		o.fail("", "not valid UTF-8")
	default:
		o.read(data)
	}
	return o
}

// free returns o to the pool, without a reference to the record's data.
func (o *object) free() {
	o.record, o.znode, o.err = "", "", nil
	clear(o.fields)
	o.fields = o.fields[:0]
	o.input = bytes.Buffer{}
	o.decoder.Reset(&o.input, options...)
	objects.Put(o)
}

func (o *object) fail(field, reason string) {
	if o.err == nil {
		o.err = &DecodeError{Record: o.record, Name: o.znode, Field: field, Reason: reason}
	}
}

// read reads data to its end. An error of syntax is the record's first error,
// wherever in data it is.
func (o *object) read(data []byte) {
	o.input = *bytes.NewBuffer(data)
	isObject := o.decoder.PeekKind() == '{'
	var err error
	if isObject {
		err = o.readMembers(data)
	} else {
		err = o.decoder.SkipValue()
	}
	if err != nil {
		o.fail("", "not valid JSON: "+syntaxReason(err))
		return
	}
	if _, err := o.decoder.ReadToken(); err != io.EOF {
		o.fail("", "not valid JSON: more data after top-level value")
	} else if !isObject {
		o.fail("", "not a JSON object")
	}
}

func (o *object) readMembers(data []byte) error {
	d := &o.decoder
	if _, err := d.ReadToken(); err != nil { // '{'
		return err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		f := o.field(unquote(name))
		if f == nil {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		f.twice = f.value != nil
		// value is valid until the decoder's next call only, but data stays.
		end := d.InputOffset()
		f.value = data[end-int64(len(value)) : end]
	}
	_, err := d.ReadToken() // '}'
	return err
}

// field returns the needed field of this name, nil if none is called so.
func (o *object) field(name []byte) *field {
	for i := range o.fields {
		if o.fields[i].name == string(name) {
			return &o.fields[i]
		}
	}
	return nil
}

// syntaxReason says what is wrong with data that is no JSON.
func syntaxReason(err error) string {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "unexpected end of JSON input"
	}
	return syntax.Err.Error()
}

// value returns the value of a field; nil after an error.
func (o *object) value(name string) []byte {
	if o.err != nil {
		return nil
	}
	f := o.field([]byte(name))
	switch {
	case f.value == nil:
		o.fail(name, "is missing")
		return nil
	case f.twice:
		o.fail(name, "stands there twice")
		return nil
	}
	return f.value
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

// unquote returns what a valid JSON string stands for, without a copy where it
// holds no escape.
func unquote(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b[1 : len(b)-1]
	}
	// The only error left is an escape that is no character; it became U+FFFD.
	text, _ := jsontext.AppendUnquote(nil, b)
	return text
}
