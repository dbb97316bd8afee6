package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// DecodeError says why a znode's data is not the record it should be. It wraps
// [ErrBadData].
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
		return fmt.Sprintf("%s %q: %v: %s", e.Record, e.Name, ErrBadData, e.Reason)
	}
	return fmt.Sprintf("%s %q: %v: field %q %s", e.Record, e.Name, ErrBadData, e.Field, e.Reason)
}

// Unwrap returns [ErrBadData].
func (e *DecodeError) Unwrap() error { return ErrBadData }

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
	if intern == nil {
		intern = func(b []byte) string { return string(b) }
	}
	if dc, ok := cutPlainShop(data); ok {
		return Shop{Name: name, Datacenter: intern(dc)}, nil
	}
	var dc string
	if err := decodeObject("shop", name, data, field{"datacenter", &dc}); err != nil {
		return Shop{}, err
	}
	return Shop{Name: name, Datacenter: intern([]byte(dc))}, nil
}

// cutPlainShop returns the datacenter's name of data that is exactly
// {"datacenter":"NAME"}, white space aside, with a NAME of ASCII letters,
// digits, "-" and "_": what nearly every shop is, at a twentieth of the cost of
// decodeObject. All else, right or wrong, is left to decodeObject.
func cutPlainShop(data []byte) ([]byte, bool) {
	rest := data
	for _, token := range [...]string{`{`, `"datacenter"`, `:`, `"`} {
		rest = trimSpace(rest)
		if len(rest) < len(token) || string(rest[:len(token)]) != token {
			return nil, false
		}
		rest = rest[len(token):]
	}
	n := 0
	for n < len(rest) && isPlain(rest[n]) {
		n++
	}
	if n == 0 || n > maxNameBytes || n == len(rest) || rest[n] != '"' {
		return nil, false
	}
	end := trimSpace(rest[n+1:])
	if len(end) == 0 || end[0] != '}' || len(trimSpace(end[1:])) != 0 {
		return nil, false
	}
	return rest[:n], true
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || 'A' <= c && c <= 'Z' || c == '_'
}

// trimSpace cuts JSON's white space off the front.
func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// DecodeRegion decodes the data of a region's znode, {"open":true}. Fields it
// does not know are ignored. zxid is the transaction that last changed the
// znode. A non-nil error is a [*DecodeError].
func DecodeRegion(name string, data []byte, zxid int64) (Region, error) {
	r := Region{Name: name, Zxid: zxid}
	if err := decodeObject("region", name, data, field{"open", &r.Open}); err != nil {
		return Region{}, err
	}
	return r, nil
}

// DecodeDatacenter decodes the data of a datacenter's znode,
// {"region":"us-east1","capacity":1000,"assigned":812,"open":true}. Fields it
// does not know are ignored. zxid is the transaction that last changed the
// znode. A non-nil error is a [*DecodeError].
func DecodeDatacenter(name string, data []byte, zxid int64) (Datacenter, error) {
	d := Datacenter{Name: name, Zxid: zxid}
	err := decodeObject("datacenter", name, data,
		field{"region", &d.Region},
		field{"capacity", &d.Capacity},
		field{"assigned", &d.Assigned},
		field{"open", &d.Open})
	if err != nil {
		return Datacenter{}, err
	}
	return d, nil
}

// field is one required field of a record: a *string is a name, an *int64 a
// count of zero or more, a *bool a flag.
type field struct {
	name string
	into any
}

// decodeObject decodes a JSON object that must hold every one of fields exactly
// once. It is stricter than json.Unmarshal, which takes the last of two equal
// keys, "Open" for "open" and null for false: of a record that can be read in
// two ways, neither is served.
func decodeObject(record, name string, data []byte, fields ...field) error {
	fail := func(field, format string, args ...any) error {
		return &DecodeError{Record: record, Name: name, Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case len(data) == 0:
		return fail("", "the znode holds no data")
	case !utf8.Valid(data):
		return fail("", "not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	switch start, err := dec.Token(); {
	case err != nil:
		return fail("", "not valid JSON: %v", syntax(err))
	case start != json.Delim('{'):
		return fail("", "not a JSON object")
	}
	seen := make([]bool, len(fields))
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fail("", "not valid JSON: %v", syntax(err))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fail("", "not valid JSON: %v", syntax(err))
		}
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		if i < 0 {
			continue
		}
		if seen[i] {
			return fail(fields[i].name, "stands there twice")
		}
		seen[i] = true
		if reason := fields[i].set(value); reason != "" {
			return fail(fields[i].name, "%s", reason)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fail("", "not valid JSON: %v", syntax(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail("", "something follows the JSON object")
	}
	if i := slices.Index(seen, false); i >= 0 {
		return fail(fields[i].name, "is missing")
	}
	return nil
}

// set stores value and returns what is wrong with it, if anything.
func (f field) set(value json.RawMessage) (reason string) {
	isNull := string(value) == "null" // json.Unmarshal takes it for anything
	err := json.Unmarshal(value, f.into)
	switch into := f.into.(type) {
	case *string:
		if err != nil || isNull {
			return "is no string"
		}
		if err := ValidateName(*into); err != nil {
			return "holds an " + err.Error()
		}
	case *int64:
		if err != nil || isNull || *into < 0 {
			return "is no whole number of zero or more"
		}
	case *bool:
		if err != nil || isNull {
			return "is neither true nor false"
		}
	}
	return ""
}

// syntax replaces the decoder's io.EOF, which says nothing to a reader.
func syntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}
