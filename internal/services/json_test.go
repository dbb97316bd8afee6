package services

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// FuzzParseJSON compares a document with what encoding/json makes of the same text.
func FuzzParseJSON(f *testing.F) {
	many := func(from, to int) string {
		var members []string
		for n := from; n < to; n++ {
			members = append(members, fmt.Sprintf(`"k%d":%d`, n, n))
		}
		return strings.Join(members, ",")
	}
	for _, text := range []string{
		``, ` `, `null`, `true`, `false`, `nul`, `truex`, `-0.5e+10`, `0`, `-`, `01`, `1.`, `1e`, `.5`, `+1`,
		`""`, `"a\"b\\\/\b\f\n\r\t"`, `"\u00e9\ud83d\ude00"`, `"\ud800"`, `"\ud800\ud800\u0041"`, `"\udc00\ud800x"`, `"\u12"`, `"\u12g4"`, `"\x"`, `"\`, `"a`,
		"\"\xff\"", "\"\xc3\xa9\xe2\x82\"", "\"\xed\xa0\x80\"", "\"\x01\"", "\"\x7f\"", "\ufeff1",
		`[]`, `[1 , [2],{} ]`, `[1,]`, `[,1]`, `[1 2]`, `[`, `]`, `[1`, `1 2`, ` [ ] `, "\u00a0[]", "[\v]",
		`{}`, `{"a":1,"b":{"a":[{"c":"d"}]}}`, `{"a":1,"a":2,"b":3,"a":null}`, `{"\u0061":1,"a":2}`, `{"a":2,"\u0061":1}`,
		"{\"\xff\":1,\"\xfe\":2,\"\ufffd\":3}", `{"":1,"":{"":2}}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a" : 1 }`, `{"a":1`, `{"a`, `{1:2}`,
		"{" + many(0, fewMembers) + "}", "{" + many(0, fewMembers+1) + "}",
		"{" + many(0, fewMembers+1) + "," + many(0, 3) + "," + many(2, 5) + "}", "{" + many(0, fewMembers) + "," + many(31, 32) + "}",
		strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth),
		strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1),
		strings.Repeat(`{"a":`, maxJSONDepth) + "1" + strings.Repeat("}", maxJSONDepth),
		strings.Repeat(`{"a":`, maxJSONDepth+1) + "1" + strings.Repeat("}", maxJSONDepth+1),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want json.RawMessage
		wantErr := json.Unmarshal([]byte(text), &want)
		if isJSON(text) != (wantErr == nil) {
			t.Fatalf("%q: isJSON is %t, but encoding/json returns the error %v", text, wantErr != nil, wantErr)
		}
		d, err := parseJSON(text)
		if err != nil {
			if wantErr == nil || err.Error() != "not valid JSON: "+wantErr.Error() {
				t.Fatalf("%q: the error is %q, want that of encoding/json: %v", text, err, wantErr)
			}
			return
		}
		defer d.free()
		sameValue(t, d.root(), want, 5)
	})
}

// sameValue compares a value with that of encoding/json, and so many levels of what is in it.
func sameValue(t *testing.T, v value, want json.RawMessage, levels int) {
	t.Helper()
	if v.raw() != string(want) || v.kind() != want[0] {
		t.Fatalf("%q is parsed as %q, of the kind %c", want, v.raw(), v.kind())
	}
	if levels == 0 {
		return
	}
	unmarshal := func(into any) {
		t.Helper()
		if err := json.Unmarshal(want, into); err != nil {
			t.Fatal(err)
		}
	}
	text := ""
	if v.kind() == '"' {
		unmarshal(&text)
	}
	if v.text() != text {
		t.Fatalf("the text of %s is %q, want %q", want, v.text(), text)
	}
	var all []json.RawMessage
	if v.kind() == '[' {
		unmarshal(&all)
	}
	n := 0
	for e := v.elements(); e.more(); n++ {
		if n == len(all) {
			t.Fatalf("%s has more than %d elements", want, n)
		}
		sameValue(t, e.value, all[n], levels-1)
	}
	if n != len(all) {
		t.Fatalf("%s has %d elements, want %d", want, n, len(all))
	}
	var members map[string]json.RawMessage
	if v.kind() == '{' {
		unmarshal(&members)
	}
	f := v.fields()
	if f.isObject() != (members != nil) || f.len() < len(members) {
		t.Fatalf("%s has room for %d fields, and %d are needed", want, f.len(), len(members))
	}
	n = 0
	for e := f.all(); e.more(); n++ {
		if found := f.find(e.key()); members[e.key()] == nil || found != e.value {
			t.Fatalf("%s: the field %q is %s, but %s is found", want, e.key(), e.raw(), found.raw())
		}
		sameValue(t, e.value, members[e.key()], levels-1)
	}
	if n != len(members) || f.find("no such field").kind() != 0 {
		t.Fatalf("%s has %d fields, want %d", want, n, len(members))
	}
}

// TestDocumentIsReused checks that a document has nothing of the one before.
func TestDocumentIsReused(t *testing.T) {
	var members []string
	for n := range 2 * fewMembers {
		members = append(members, fmt.Sprintf(`"\u006b%d":{}`, n))
	}
	for range 100 {
		for _, text := range []string{"{" + strings.Join(members, ",") + "}", `{"\u0061":"b"}`, `[`, `{}`} {
			d, err := parseJSON(text)
			if err != nil {
				continue
			}
			if f := d.root().fields(); f.text("a") == "b" != (f.len() == 1) || f.has("k0") != (f.len() > 1) {
				t.Fatalf("%s has other fields: %s, %s", text, f.find("a").raw(), f.find("k0").raw())
			}
			d.free()
		}
	}
}
