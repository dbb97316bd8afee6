package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"magellan/internal/discovery"
	"magellan/internal/shops"
)

// readAll returns what a file of that name and content holds: a line for each
// record and each error.
func readAll(t *testing.T, name, content string, as kind) []string {
	t.Helper()
	s, err := newSource(name, as, "")
	if err != nil {
		t.Fatal(err)
	}
	s.r = strings.NewReader(content)
	var got []string
	for r, err := range s.records() {
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, fmt.Sprintf("%d %s %s %s", r.line, r.kind, r.name, r.data))
		}
	}
	return got
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", maxLine+10)
	for _, test := range []struct {
		what, name, content string
		kind                kind
		want                []string
	}{
		{what: "nothing", name: "shops.csv", content: "", want: []string{"shops.csv: there is no record in it"}},
		{what: "header only", name: "shops.csv", content: "shop,datacenter", want: []string{"shops.csv: there is no record in it"}},
		{what: "fields in any order, spaces in the header", name: "shops.csv", content: "datacenter, shop\nash1,42\n",
			want: []string{`2 shops 42 {"datacenter":"ash1"}`}},
		{what: "byte order mark, CRLF, no end of line at the end", name: "regions.csv", content: "\xef\xbb\xbfregion,open\r\nus,true\r\n\r\neu,false",
			want: []string{`2 regions us {"open":true}`, `4 regions eu {"open":false}`}},
		{what: "byte order mark before JSON", name: "-", content: "\xef\xbb\xbf\n {\"region\":\"us\"}",
			want: []string{`2 regions us {"open":true}`}},
		{what: "names that look like numbers", name: "d.csv", content: "datacenter,region,capacity\n1,2,3\ntrue,null,4\n",
			want: []string{
				`2 datacenters 1 {"region":"2","capacity":3,"assigned":0,"open":true}`,
				`3 datacenters true {"region":"null","capacity":4,"assigned":0,"open":true}`}},
		{what: "quotes and umlauts", name: "shops.csv", content: "shop,datacenter\n\"a \"\"b\"\", c\",ash1\nKäse&Brot,<dc>\n",
			want: []string{`2 shops a "b", c {"datacenter":"ash1"}`, `3 shops Käse&Brot {"datacenter":"<dc>"}`}},
		{what: "what is no number", name: "d.csv", content: "datacenter,region,capacity,open\nd,r,1.5,true\nd,r,1e3,true\nd,r,,true\nd,r,1,TRUE\nd,r,\"1,\"\"x\"\":2\",true\nd,r,99999999999999999999,true\n",
			want: []string{
				`d.csv:2: datacenter "d": unreadable record: field "capacity" is no whole number of zero or more`,
				`d.csv:3: datacenter "d": unreadable record: field "capacity" is no whole number of zero or more`,
				`d.csv:4: datacenter "d": unreadable record: field "capacity" is no whole number of zero or more`,
				`d.csv:5: datacenter "d": unreadable record: field "open" is neither true nor false`,
				`d.csv:6: datacenter "d": unreadable record: field "capacity" is no whole number of zero or more`,
				`d.csv:7: datacenter "d": unreadable record: field "capacity" is no whole number of zero or more`}},
		{what: "a line that is too long", name: "shops.csv", content: "shop,datacenter\n" + long + "\n42,ash1\n",
			want: []string{"shops.csv:2: the line is longer than 1048576 bytes", `3 shops 42 {"datacenter":"ash1"}`}},
		{what: "the last line is too long", name: "shops.csv", content: "shop,datacenter\n" + long,
			want: []string{"shops.csv:2: the line is longer than 1048576 bytes"}},
		{what: "not UTF-8", name: "shops.csv", content: "shop,datacenter\n\xff,ash1\n42,ash1\n",
			want: []string{"shops.csv:2: not valid UTF-8", `3 shops 42 {"datacenter":"ash1"}`}},
		{what: "control characters", name: "shops.csv", content: "shop,datacenter\na\x00b,ash1\n",
			want: []string{`shops.csv:2: field "shop" holds an invalid name: "a\x00b" holds the control character U+0000`}},
		{what: "a column twice", name: "shops.csv", content: "shop,shop,datacenter\n1,2,ash1\n",
			want: []string{`shops.csv:1: the header: field "shop" is there twice`}},
		{what: "kinds by their fields", name: "x", content: `{"shop":"1","datacenter":"d","region":"r"}` + "\n" +
			`{"datacenter":"d","region":"r","capacity":5,"assigned":2,"open":false}` + "\n" + `{"open":false,"region":"r"}` + "\n" + `{}` + "\n",
			want: []string{
				`x:1: warning: field "region" is not imported`, `1 shops 1 {"datacenter":"d"}`,
				`2 datacenters d {"region":"r","capacity":5,"assigned":2,"open":false}`, `3 regions r {"open":false}`,
				`x:4: neither "shop", "datacenter" nor "region" is among the fields: there is none`}},
		{what: "a kind that was said", name: "x", kind: regions, content: `{"shop":"1","region":"r"}` + "\n" + `{"shop":"1"}`,
			want: []string{
				`x:1: warning: field "shop" is not imported`, `1 regions r {"open":true}`,
				`x:2: regions need a field "region"; there is "shop"`}},
		{what: "escapes in JSON", name: "x.json", content: `{"shop":"\u0034\u0032","datacenter":"ash\u0031"}`,
			want: []string{`1 shops 42 {"datacenter":"ash1"}`}},
		{what: "a list", name: "dir/fraud.txt", content: "# c\r\n192.0.2.1\r\n\r\nbad\r\n192.0.2.0/24 expires=never\n",
			want: []string{
				`dir/fraud.txt:4: "bad" is neither an IP address nor a CIDR prefix`,
				`dir/fraud.txt:5: expires="never" is no RFC 3339 time such as 2026-12-01T00:00:00Z`,
				"0 bad-citizens fraud # c\n192.0.2.1\n\n"}},
		{what: "an empty list", name: "fraud.txt", content: "", want: []string{"0 bad-citizens fraud "}},
		{what: "comments and a bad line", name: "fraud.txt", content: "# nobody\nbad\n",
			want: []string{`fraud.txt:2: "bad" is neither an IP address nor a CIDR prefix`,
				`fraud.txt: none of its lines is an entry; the list is not imported, because it would let everybody in`}},
		{what: "a list that is too long", name: "fraud.txt", content: strings.Repeat("192.0.2.1\n", maxList/10+1),
			want: []string{`fraud.txt:104756: the list is longer than the 1047551 bytes a znode can hold and is not imported: split it over several files`}},
	} {
		t.Run(test.what, func(t *testing.T) {
			if got := readAll(t, test.name, test.content, test.kind); !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// A file that cannot be read to its end says so; what came before counts.
func TestRecordsReadError(t *testing.T) {
	s, err := newSource("shops.csv", "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.r = io.MultiReader(strings.NewReader("shop,datacenter\n42,ash1\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	records, errs := 0, 0
	for _, err := range s.records() {
		switch {
		case err == nil:
			records++
		case errors.Is(err, io.ErrUnexpectedEOF):
			errs++
		default:
			t.Error(err)
		}
	}
	if records != 1 || errs != 1 {
		t.Errorf("%d records, %d errors, want 1 of each", records, errs)
	}
}

// The bytes of the records add up to the file: the progress bar reaches its end.
func TestRecordsBytes(t *testing.T) {
	content := "shop,datacenter\n\nbad\n1,ash1\n2,ash1\n"
	s, err := newSource("shops.csv", "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.r = strings.NewReader(content)
	var sum int64
	for r := range s.records() {
		sum += r.bytes
	}
	if sum != int64(len(content)) {
		t.Errorf("records stood in %d bytes, want %d", sum, len(content))
	}
}

func FuzzImportCSV(f *testing.F) {
	for _, seed := range []string{
		"shop,datacenter\n42,ash1\n", "datacenter,region,capacity,assigned,open\nash1,us,1,2,true\n", "region,open\r\nus,false",
		"shop,datacenter,x\n\"a\"\"b\",c,d\n\"\n,,\n", "\xef\xbb\xbfregion\n\xff\n", "shop,shop\n", "\n\n\n",
	} {
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, content []byte, stop uint8) { checkImport(t, "f.csv", content, stop) })
}

func FuzzImportJSONL(f *testing.F) {
	for _, seed := range []string{
		`{"shop":"42","datacenter":"ash1"}`, `{"datacenter":"ash1","region":"us","capacity":1,"assigned":2,"open":true}`,
		`{"region":"us","open":false,"x":[{},1e9,null]}` + "\n\n{", `{"shop":"\ud800","datacenter":"\u0000"}`, `{"shop":"a","shop":"b"}`, `[]`, "\xff",
	} {
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, content []byte, stop uint8) { checkImport(t, "f.jsonl", content, stop) })
}

func FuzzImportList(f *testing.F) {
	for _, seed := range []string{"192.0.2.1\n# c\n", "2001:db8::/32 expires=2026-12-01T00:00:00Z reason=\"x\"\r\n", "x\n", "\xff\n\x00"} {
		f.Add([]byte(seed), uint8(255))
	}
	f.Fuzz(func(t *testing.T, content []byte, stop uint8) { checkImport(t, "f.txt", content, stop) })
}

// checkImport reads a file, up to stop records and errors of it, and checks what
// holds for all files: what is imported the server can read, and importing it
// again, however it is written, leaves it unchanged.
func checkImport(t *testing.T, name string, content []byte, stop uint8) {
	s, err := newSource(name, "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.r = bytes.NewReader(content)
	lines := bytes.Count(content, []byte("\n")) + 1
	last, seen := 0, 0
	for r, err := range s.records() {
		if err != nil {
			var bad *lineError
			if !errors.As(err, &bad) || bad.line < 0 || bad.line > lines {
				t.Fatalf("%v: no line of the file's %d", err, lines)
			}
		} else {
			if r.kind != badCitizens && (r.line <= last || r.line > lines) {
				t.Fatalf("record of line %d after one of line %d, of %d lines", r.line, last, lines)
			}
			last = r.line
			checkRecord(t, r)
		}
		if seen++; seen > int(stop) {
			break // whoever stops reading must not be called again
		}
	}
}

func checkRecord(t *testing.T, r record) {
	if err := discovery.ValidateName(r.name); err != nil {
		t.Fatalf("name: %v", err)
	}
	var err error
	again := map[string]any{}
	switch r.kind {
	case shopRecords:
		var s shops.Home
		s, err = shops.DecodeShop(r.name, r.data)
		again = map[string]any{"shop": r.name, "datacenter": s.Datacenter}
	case datacenters:
		var d shops.Datacenter
		d, err = shops.DecodeDatacenter(r.name, r.data, 0)
		again = map[string]any{"datacenter": r.name, "region": d.Region, "capacity": d.Capacity, "assigned": d.Assigned, "open": d.Open}
	case regions:
		var g shops.Region
		g, err = shops.DecodeRegion(r.name, r.data, 0)
		again = map[string]any{"region": r.name, "open": g.Open}
	case badCitizens:
		list, err := shops.DecodeBadCitizens(r.name, r.data, 0)
		if err != nil || list.BadLines > 0 {
			t.Fatalf("%q: %d bad lines, %v", r.data, list.BadLines, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: the server cannot read %s: %v", r.name, r.data, err)
	}
	line, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := (&source{}).fromJSON(line)
	if err != nil || second.kind != r.kind || second.name != r.name || !bytes.Equal(second.data, r.data) {
		t.Fatalf("%s %s: imported again as %s: %s %s, %v", r.name, r.data, line, second.name, second.data, err)
	}
}
