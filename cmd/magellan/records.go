package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"magellan/internal/discovery"
	"magellan/internal/shops"
	"magellan/internal/zk"
)

// kind is the kind of a file's records.
type kind string

const (
	shopRecords kind = "shops"
	datacenters kind = "datacenters"
	regions     kind = "regions"
	badCitizens kind = "bad-citizens"
)

// record is a znode to write.
type record struct {
	kind kind
	name string
	data []byte
	// refers is the name of the record that this record needs: a shop's datacenter, a
	// datacenter's region. refersTo is empty if it needs none.
	refers   kind
	refersTo string
	line     int
	// bytes is the number of bytes of the file up to the end of this record, counted
	// from the record before. Skipped and bad lines in between are included.
	bytes int64
}

// lineError is about one line. Reading goes on after it.
type lineError struct {
	file string
	line int // 0: about the whole file
	err  error
	// warning: nothing was left out.
	warning bool
}

func (e *lineError) Error() string {
	at := e.file
	if e.line > 0 {
		at = fmt.Sprintf("%s:%d", e.file, e.line)
	}
	if e.warning {
		return fmt.Sprintf("%s: warning: %v", at, e.err)
	}
	return fmt.Sprintf("%s: %v", at, e.err)
}

func (e *lineError) Unwrap() error { return e.err }

const (
	// maxLine is the greatest length of a line, in bytes. Every valid line is far
	// shorter.
	maxLine = 1 << 20
	// maxFields is the greatest number of fields of a record. Each field is compared
	// with the others.
	maxFields = 1000
	// maxList is the greatest size of a list, in bytes. A request also contains a path
	// and some numbers.
	maxList = zk.DefaultMaxRequest - 1<<10
)

// source is a file to import.
type source struct {
	name string
	r    io.Reader
	// kind is the kind of its records. If it is empty, the fields determine it.
	kind kind
	// list is the name of the list, for bad citizens.
	list string
	// csv and jsonl are its format by its name. If neither is set, the first byte
	// determines the format.
	csv, jsonl bool

	offset   int64 // end of the line read last
	reported int64 // the part of offset that records have reported as their bytes
}

// newSource returns how to read a file, which follows from its name and the flags. The
// name "-" is standard input.
func newSource(name string, as kind, list string) (*source, error) {
	s := &source{name: name, kind: as, list: list}
	base := filepath.Base(name)
	extension := filepath.Ext(base)
	switch strings.ToLower(extension) {
	case ".csv":
		s.csv = true
	case ".jsonl", ".ndjson", ".json":
		s.jsonl = true
	case ".txt":
		s.kind = cmp.Or(as, badCitizens)
	}
	if name == "-" {
		s.name = "stdin"
	} else if list == "" {
		s.list = strings.TrimSuffix(base, extension)
	}
	if s.kind != badCitizens {
		return s, nil
	}
	if s.csv || s.jsonl {
		return nil, fail(exitUsage, "%s: a bad-citizen list is plain text, a line for each address: see import --help", name)
	}
	if s.list == "" {
		return nil, fail(exitUsage, "standard input has no name for the list: give --list")
	}
	if err := discovery.ValidateName(s.list); err != nil {
		return nil, fail(exitUsage, "the name of the list: %w", err)
	}
	return s, nil
}

// records yields the file's records. Each error is a *lineError: for a line that was left
// out, as a warning, or because the file has no record.
func (s *source) records() iter.Seq2[record, error] {
	return func(each func(record, error) bool) {
		something, stopped := false, false
		yield := func(r record, err error) bool {
			var e *lineError
			something = something || !errors.As(err, &e) || !e.warning
			stopped = !each(r, err)
			return !stopped
		}
		defer func() {
			// An export that failed leaves such a file, and its user may not notice.
			if !something && !stopped {
				each(record{}, &lineError{file: s.name, err: errors.New("there is no record in it")})
			}
		}()
		in := bufio.NewReaderSize(s.r, maxLine)
		switch {
		case s.kind == badCitizens:
			s.readList(in, yield)
		case s.jsonl || !s.csv && firstByte(in) == '{':
			s.readJSON(in, yield)
		default:
			s.readCSV(in, yield)
		}
	}
}

// firstByte returns the first byte that is no white space, without consuming it.
func firstByte(in *bufio.Reader) byte {
	head, _ := in.Peek(512) // less at the end of the file
	head = bytes.TrimLeft(bytes.TrimPrefix(head, []byte(bom)), " \t\r\n")
	if len(head) == 0 {
		return 0
	}
	return head[0]
}

// bom is the byte order mark, which some programs write at the start of a UTF-8 file.
const bom = "\xef\xbb\xbf"

// lines yields the lines without their ends, numbered from 1. The slices are
// valid until the next one. A line that is too long or not UTF-8 is yielded as an error,
// and so is an error of reading the file.
func (s *source) lines(in *bufio.Reader, report func(error) bool) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for number := 1; ; number++ {
			line, err := in.ReadSlice('\n')
			s.offset += int64(len(line))
			tooLong := err == bufio.ErrBufferFull
			for err == bufio.ErrBufferFull {
				var more []byte
				more, err = in.ReadSlice('\n')
				s.offset += int64(len(more))
			}
			if number == 1 {
				line = bytes.TrimPrefix(line, []byte(bom))
			}
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			ok := true
			switch {
			case tooLong:
				ok = report(&lineError{file: s.name, line: number, err: fmt.Errorf("the line is longer than %d bytes", maxLine)})
			case !utf8.Valid(line):
				ok = report(&lineError{file: s.name, line: number, err: errors.New("not valid UTF-8")})
			case len(line) > 0 || err == nil:
				ok = yield(number, line)
			}
			if ok && err != nil && err != io.EOF {
				report(&lineError{file: s.name, err: fmt.Errorf("cannot be read after line %d: %w", number, err)})
			}
			if !ok || err != nil {
				return
			}
		}
	}
}

// progress returns how many bytes have been read after the last call.
func (s *source) progress() int64 {
	n := s.offset - s.reported
	s.reported = s.offset
	return n
}

// readCSV reads lines of comma-separated values under a header. A record is one
// line: a value that contains a newline would be refused anyway, and a quote that is
// never closed makes only one line invalid.
func (s *source) readCSV(in *bufio.Reader, yield func(record, error) bool) {
	report := func(err error) bool { return yield(record{}, err) }
	var one bytes.Reader
	buffered := bufio.NewReader(&one) // csv.NewReader uses it without another buffer
	values := csv.NewReader(buffered)
	values.FieldsPerRecord = -1 // counted below
	var header []string
	var sch *schema
	for number, line := range s.lines(in, report) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		one.Reset(line)
		buffered.Reset(&one)
		fields, err := values.Read()
		switch {
		case err != nil:
			var parse *csv.ParseError
			if errors.As(err, &parse) {
				err = parse.Err
			}
		case header == nil:
			for i := range fields {
				fields[i] = strings.TrimSpace(fields[i])
			}
			header = fields
			if sch, err = s.schemaOf(header); err != nil {
				report(&lineError{file: s.name, line: number, err: fmt.Errorf("the header: %w", err)})
				return
			}
			for _, name := range sch.unknown(header) {
				if !report(&lineError{file: s.name, line: number, err: fmt.Errorf("column %q is not imported", name), warning: true}) {
					return
				}
			}
			continue
		case len(fields) != len(header):
			err = fmt.Errorf("%d values where the header names %d", len(fields), len(header))
		}
		if err == nil {
			var r record
			if r, err = sch.fromCSV(header, fields); err == nil {
				r.line, r.bytes = number, s.progress()
				if !yield(r, nil) {
					return
				}
				continue
			}
		}
		if !report(&lineError{file: s.name, line: number, err: err}) {
			return
		}
	}
}

// readJSON reads lines with one object each.
func (s *source) readJSON(in *bufio.Reader, yield func(record, error) bool) {
	report := func(err error) bool { return yield(record{}, err) }
	warned := map[string]bool{}
	for number, line := range s.lines(in, report) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r, unknown, err := s.fromJSON(line)
		for _, name := range unknown {
			if warned[name] || len(warned) == 100 {
				continue
			}
			warned[name] = true
			if !report(&lineError{file: s.name, line: number, err: fmt.Errorf("field %q is not imported", name), warning: true}) {
				return
			}
		}
		if err != nil {
			if !report(&lineError{file: s.name, line: number, err: err}) {
				return
			}
			continue
		}
		r.line, r.bytes = number, s.progress()
		if !yield(r, nil) {
			return
		}
	}
}

func (s *source) fromJSON(line []byte) (record, []string, error) {
	names, values, err := members(line)
	if err != nil {
		return record{}, nil, err
	}
	sch, err := s.schemaOf(names)
	if err != nil {
		return record{}, nil, err
	}
	r, err := sch.fromJSON(names, values)
	return r, sch.unknown(names), err
}

// readList reads a bad-citizen list, which is one znode: the lines that parse
// are kept as they are, comments too.
func (s *source) readList(in *bufio.Reader, yield func(record, error) bool) {
	goOn := true
	bad := 0
	report := func(err error) bool {
		bad++
		goOn = yield(record{}, err)
		return goOn
	}
	data := []byte{} // an empty list is no NULL
	for number, line := range s.lines(in, report) {
		if _, _, err := shops.ParseBadCitizen(string(line)); err != nil {
			if !report(&lineError{file: s.name, line: number, err: err}) {
				return
			}
			continue
		}
		if len(data)+len(line)+1 > maxList {
			report(&lineError{file: s.name, line: number, err: fmt.Errorf(
				"the list is longer than the %d bytes a znode can hold and is not imported: split it over several files", maxList)})
			return
		}
		data = append(append(data, line...), '\n')
	}
	if !goOn {
		return
	}
	list, err := shops.DecodeBadCitizens(s.list, data, 0)
	if err == nil && bad > 0 && list.Len() == 0 {
		err = errors.New("none of its lines is an entry; the list is not imported, because it would let everybody in")
	}
	if err != nil {
		report(&lineError{file: s.name, err: err})
		return
	}
	yield(record{kind: badCitizens, name: s.list, data: data, bytes: s.progress()}, nil)
}

// schema lists the fields of a record.
type schema struct {
	kind kind
	key  string // the field that is its name
	// fields in the order in which they are written, with the value of a missing field.
	// A field without such a value must not be missing.
	fields []schemaField
	refers kind
	decode func(name string, data []byte) (v any, refersTo string, err error)
}

type schemaField struct{ name, missing string }

// The types below write the data of a znode, and the decoders of package discovery read
// it: nothing is imported that the server cannot read.
var schemas = []schema{
	{
		kind: shopRecords, key: "shop", refers: datacenters,
		fields: []schemaField{{"datacenter", ""}},
		decode: func(name string, data []byte) (any, string, error) {
			s, err := shops.DecodeShop(name, data)
			return struct {
				Datacenter string `json:"datacenter"`
			}{s.Datacenter}, s.Datacenter, err
		},
	},
	{
		kind: datacenters, key: "datacenter", refers: regions,
		fields: []schemaField{{"region", ""}, {"capacity", ""}, {"assigned", "0"}, {"open", "true"}},
		decode: func(name string, data []byte) (any, string, error) {
			d, err := shops.DecodeDatacenter(name, data, 0)
			return struct {
				Region   string `json:"region"`
				Capacity int64  `json:"capacity"`
				Assigned int64  `json:"assigned"`
				Open     bool   `json:"open"`
			}{d.Region, d.Capacity, d.Assigned, d.Open}, d.Region, err
		},
	},
	{
		kind: regions, key: "region",
		fields: []schemaField{{"open", "true"}},
		decode: func(name string, data []byte) (any, string, error) {
			r, err := shops.DecodeRegion(name, data, 0)
			return struct {
				Open bool `json:"open"`
			}{r.Open}, "", err
		},
	},
}

// schemaOf finds the schema for a file of this kind, or else for these fields:
// a shop has a shop, a datacenter has no shop but a datacenter, a region has
// neither. A field must not be there twice: a record with two readings is not imported.
func (s *source) schemaOf(fields []string) (*schema, error) {
	for i, name := range fields {
		if slices.Contains(fields[:i], name) {
			return nil, fmt.Errorf("field %.40q is there twice", name)
		}
	}
	for i := range schemas {
		sch := &schemas[i]
		if s.kind == "" && !slices.Contains(fields, sch.key) || s.kind != "" && s.kind != sch.kind {
			continue
		}
		for _, f := range append([]schemaField{{name: sch.key}}, sch.fields...) {
			if f.missing == "" && !slices.Contains(fields, f.name) {
				return nil, fmt.Errorf("%s need a field %q; there is %s", sch.kind, f.name, quoted(fields))
			}
		}
		return sch, nil
	}
	return nil, fmt.Errorf("neither %q, %q nor %q is among the fields: there is %s",
		schemas[0].key, schemas[1].key, schemas[2].key, quoted(fields))
}

// quoted lists the first names for a message.
func quoted(names []string) string {
	const most = 8
	var b strings.Builder
	for i, name := range names {
		if i == most {
			b.WriteString(", …")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.40q", name)
	}
	if len(names) == 0 {
		return "none"
	}
	return b.String()
}

// unknown returns those names that the schema does not have.
func (sch *schema) unknown(names []string) []string {
	var unknown []string
	for _, name := range names {
		if name != sch.key && !slices.ContainsFunc(sch.fields, func(f schemaField) bool { return f.name == name }) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

// fromCSV makes a record from the values of a line.
func (sch *schema) fromCSV(header, values []string) (record, error) {
	raw := make([]json.RawMessage, len(values))
	for i, v := range values {
		// A number, true and false are the same in JSON. Everything else is text. The
		// decoder checks the types of the fields.
		raw[i] = json.RawMessage(v)
		if header[i] == sch.key || isName(header[i]) || !json.Valid(raw[i]) {
			raw[i], _ = json.Marshal(v) // text can always be marshalled
		}
	}
	return sch.fromJSON(header, raw)
}

// isName reports whether a field is text, even where it looks like a number.
func isName(field string) bool { return field == "datacenter" || field == "region" }

// fromJSON makes a record from the fields of an object.
func (sch *schema) fromJSON(names []string, values []json.RawMessage) (record, error) {
	var name string
	if err := json.Unmarshal(values[slices.Index(names, sch.key)], &name); err != nil {
		return record{}, fmt.Errorf("field %q is no string", sch.key)
	}
	if err := discovery.ValidateName(name); err != nil {
		return record{}, fmt.Errorf("field %q holds an %w", sch.key, err)
	}
	object := []byte{'{'}
	for i, f := range sch.fields {
		value := json.RawMessage(f.missing)
		if at := slices.Index(names, f.name); at >= 0 {
			value = values[at]
		}
		if i > 0 {
			object = append(object, ',')
		}
		object = fmt.Appendf(object, "%q:%s", f.name, value)
	}
	object = append(object, '}')
	v, refersTo, err := sch.decode(name, object)
	if err != nil {
		return record{}, err
	}
	// The fields are encoded again, so that a record always has the same bytes, however
	// it was written in the file. The next import then finds it unchanged.
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return record{}, err
	}
	return record{
		kind: sch.kind, name: name, data: bytes.TrimSuffix(data.Bytes(), []byte("\n")),
		refers: sch.refers, refersTo: refersTo,
	}, nil
}

// members returns the fields of a JSON object in order.
func members(line []byte) (names []string, values []json.RawMessage, err error) {
	if !json.Valid(line) {
		return nil, nil, fmt.Errorf("not valid JSON: %w", json.Unmarshal(line, new(json.RawMessage)))
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object")
	}
	for dec.More() {
		if len(names) == maxFields {
			return nil, nil, fmt.Errorf("more than %d fields", maxFields)
		}
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		names, values = append(names, name.(string)), append(values, value)
	}
	return names, values, nil
}
