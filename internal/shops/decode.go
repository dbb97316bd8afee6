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

// DecodeError says why a znode's data is not the record that it should be. It wraps
// [discovery.ErrBadData].
type DecodeError struct {
	// Record is the record that it should have been: shop, region, datacenter or
	// bad-citizen list.
	Record string
	// Name is the last element of the znode's path.
	Name string
	// Field is the field that is wrong. It is empty if the data as a whole is wrong.
	Field string
	// Reason says what is wrong.
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

// DecodeShop decodes the data of a shop's znode, {"datacenter":"ash1"}. Other fields are
// ignored. A non-nil error is a [*DecodeError].
func DecodeShop(name string, data []byte) (Home, error) {
	datacenter, err := decodeShop(name, data, nil)
	return Home{Datacenter: datacenter}, err
}

// decodeShop returns the name of a shop's datacenter. intern returns a string that is equal
// to the name's bytes, and must not keep the bytes. If intern is nil, a new string is made.
func decodeShop(name string, data []byte, intern func([]byte) string) (datacenter string, err error) {
	o := openObject("shop", name, data, "datacenter")
	defer o.free()
	datacenter = o.name("datacenter", intern)
	if o.err != nil {
		return "", o.err
	}
	return datacenter, nil
}

// DecodeRegion decodes the data of a region's znode, {"open":true}. Other fields are
// ignored. zxid is the transaction that last changed the znode. A non-nil error is a
// [*DecodeError].
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
// {"region":"us-east1","capacity":1000,"assigned":812,"open":true}. Other fields are
// ignored. zxid is the transaction that last changed the znode. A non-nil error is a
// [*DecodeError].
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

// bom is the byte order mark, which some programs put at the start of a UTF-8 text. Decoders
// skip it.
const bom = "\xef\xbb\xbf"

// object reads the fields of a JSON object. Each needed field must be there exactly once. An
// object is stricter than json.Unmarshal, which takes the last of two equal keys, "Open"
// for "open", and null for false: a record that can be read in two ways is not served.
//
// A cold cache reads a million shops. Objects come from a pool, to which free returns them,
// so that decoding a shop allocates none.
type object struct {
	record, znode string
	decoder       jsontext.Decoder
	input         bytes.Buffer // the decoder reads from it
	fields        []field
	err           error // the first error; a *DecodeError
}

// field is one field that a record needs.
type field struct {
	name  string
	value []byte // without white space around it; nil if the field is missing
	twice bool   // the field is there more than once
}

// options let the decoder accept errors in fields that are ignored: such a field may be
// there twice, and may contain an escape that is no character. In needed fields these are
// still errors: openObject refuses bytes that are not UTF-8, the method value refuses a
// field that is there twice, and discovery.ValidateName refuses U+FFFD, which the decoder
// makes of such an escape.
var options = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

var objects = sync.Pool{New: func() any {
	o := new(object)
	o.decoder.Reset(&o.input, options...)
	return o
}}

// openObject reads data and keeps the values of the fields with the given names.
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

// free returns o to the pool, without any reference to the record's data.
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

// read reads data to its end. So a syntax error anywhere in data is reported, and not an
// error of a field before it.
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
		// The decoder may reuse value in its next call. The same bytes of data stay.
		end := d.InputOffset()
		f.value = data[end-int64(len(value)) : end]
	}
	_, err := d.ReadToken() // '}'
	return err
}

// field returns the needed field of this name, nil if there is none.
func (o *object) field(name []byte) *field {
	for i := range o.fields {
		if o.fields[i].name == string(name) {
			return &o.fields[i]
		}
	}
	return nil
}

// syntaxReason says why data is not valid JSON.
func syntaxReason(err error) string {
	var syntax *jsontext.SyntacticError
	if !errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "unexpected end of JSON input"
	}
	return syntax.Err.Error()
}

// value returns the value of a needed field. It returns nil if o has an error.
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
		o.fail(name, "is there twice")
		return nil
	}
	return f.value
}

// name returns the value of a field that is the name of a znode. intern is as for
// decodeShop.
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

// count returns the value of a field that is a whole number of zero or more.
func (o *object) count(field string) int64 {
	n, err := strconv.ParseInt(string(o.value(field)), 10, 64)
	if err != nil || n < 0 {
		o.fail(field, "is no whole number of zero or more")
	}
	return n
}

// flag returns the value of a field that is true or false.
func (o *object) flag(field string) bool {
	value := string(o.value(field))
	if value != "true" && value != "false" {
		o.fail(field, "is neither true nor false")
	}
	return value == "true"
}

// unquote returns the text of a valid JSON string. It makes a copy only if the string has an
// escape.
func unquote(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b[1 : len(b)-1]
	}
	// The only possible error is an escape that is no character, of which AppendUnquote
	// makes U+FFFD.
	text, _ := jsontext.AppendUnquote(nil, b)
	return text
}
