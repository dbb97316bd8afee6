package shops

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"magellan/internal/alloctest"
	"magellan/internal/discovery"
)

func TestDecodeShop(t *testing.T) {
	for _, data := range []string{
		`{"datacenter":"ash1"}`,
		"\n { \"datacenter\" : \"ash1\" }\r\n\t",
		`{"datacenter":"ash1","since":{"year":[2019,{}]},"x":null}`,
		`{"Datacenter":7,"datacenter":"ash1"}`, // another field
		`{"x":1,"x":2,"datacenter":"ash1"}`,
		`{"datacenter":"\u0061sh1"}`,
		`{"data\u0063enter":"ash1"}`,
	} {
		shop, err := DecodeShop("42", []byte(data))
		if err != nil || shop != (Home{Datacenter: "ash1"}) {
			t.Errorf("%s: %+v, %v", data, shop, err)
		}
	}
	for _, data := range []string{`{"datacenter":"東京"}`, `{"datacenter":"a.b c"}`} {
		if _, err := DecodeShop("42", []byte(data)); err != nil {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// TestByteOrderMark: what an editor puts before a record changes nothing of it.
func TestByteOrderMark(t *testing.T) {
	for _, mark := range []string{"", "\ufeff"} {
		shop, err := DecodeShop("42", []byte(mark+`{"datacenter":"ash1"}`))
		if err != nil || shop.Datacenter != "ash1" {
			t.Errorf("%q: %+v, %v", mark, shop, err)
		}
		region, err := DecodeRegion("r", []byte(mark+" {\"open\":true}"), 1)
		if err != nil || !region.Open {
			t.Errorf("%q: %+v, %v", mark, region, err)
		}
		dc, err := DecodeDatacenter("d", []byte(mark+`{"region":"r","capacity":7,"assigned":1,"open":true}`), 1)
		if err != nil || dc.Region != "r" || dc.Capacity != 7 {
			t.Errorf("%q: %+v, %v", mark, dc, err)
		}
		list, err := DecodeBadCitizens("l", []byte(mark+"203.0.113.0/24\nx\n203.0.113.7\n"), 1)
		if err != nil || list.Len() != 2 || list.BadLines != 1 || list.LineErrors[0].Line != 2 {
			t.Errorf("%q: %d entries, %v, %v", mark, list.Len(), list.LineErrors, err)
		}
		if list, err := DecodeBadCitizens("l", []byte(mark), 1); err != nil || list.Len() != 0 || list.BadLines != 0 {
			t.Errorf("%q alone: %d entries, %v", mark, list.Len(), err)
		}
		if _, err := DecodeShop("42", []byte(mark)); err == nil || !strings.Contains(err.Error(), "no data") {
			t.Errorf("%q alone: %v", mark, err)
		}
	}
	if _, err := DecodeShop("42", []byte("{\"datacenter\":\"ash1\"}\ufeff")); err == nil {
		t.Error("a byte order mark at the end is taken")
	}
}

func TestDecodeErrorsNameTheField(t *testing.T) {
	decodeShop := func(data []byte) error { _, err := DecodeShop("n", data); return err }
	decodeRegion := func(data []byte) error { _, err := DecodeRegion("n", data, 1); return err }
	decodeDatacenter := func(data []byte) error { _, err := DecodeDatacenter("n", data, 1); return err }
	for _, test := range []struct {
		decode            func([]byte) error
		data, field, says string
	}{
		{decodeShop, "", "", "no data"},
		{decodeShop, " ", "", "unexpected end of JSON"},
		{decodeShop, "null", "", "not a JSON object"},
		{decodeShop, `["datacenter","ash1"]`, "", "not a JSON object"},
		{decodeShop, `"ash1"`, "", "not a JSON object"},
		{decodeShop, "{", "", "unexpected end of JSON"},
		{decodeShop, `{"datacenter":"ash1"`, "", "unexpected end of JSON"},
		{decodeShop, `{"datacenter":"ash1",}`, "", "not valid JSON"},
		{decodeShop, `{"datacenter":"ash1" "x":1}`, "", "not valid JSON"},
		{decodeShop, `{"datacenter":"ash1"}}`, "", "after top-level value"},
		{decodeShop, `{"datacenter":"ash1"} {}`, "", "after top-level value"},
		{decodeShop, `{"datacenter":"ash1"}x`, "", "after top-level value"},
		{decodeShop, "{\"datacenter\":\"a\xff\"}", "", "UTF-8"},
		{decodeShop, `{}`, "datacenter", "missing"},
		{decodeShop, `{"Datacenter":"ash1"}`, "datacenter", "missing"},
		{decodeShop, `{"datacenter":null}`, "datacenter", "no string"},
		{decodeShop, `{"datacenter":7}`, "datacenter", "no string"},
		{decodeShop, `{"datacenter":["ash1"]}`, "datacenter", "no string"},
		{decodeShop, `{"datacenter":""}`, "datacenter", "empty"},
		{decodeShop, `{"datacenter":"a/b"}`, "datacenter", "slash"},
		{decodeShop, `{"datacenter":"\ud800"}`, "datacenter", "U+FFFD"},
		{decodeShop, `{"datacenter":"ash1","datacenter":"ash1"}`, "datacenter", "twice"},
		{decodeShop, `{"datacenter":"` + strings.Repeat("x", 256) + `"}`, "datacenter", "256 bytes"},
		{decodeRegion, `{}`, "open", "missing"},
		{decodeRegion, `{"open":"true"}`, "open", "neither true nor false"},
		{decodeRegion, `{"open":null}`, "open", "neither true nor false"},
		{decodeRegion, `{"open":1}`, "open", "neither true nor false"},
		{decodeRegion, "", "", "no data"},
		{decodeDatacenter, `{"capacity":1,"assigned":0,"open":true}`, "region", "missing"},
		{decodeDatacenter, `{"region":"r","assigned":0,"open":true}`, "capacity", "missing"},
		{decodeDatacenter, `{"region":"r","capacity":1,"open":true}`, "assigned", "missing"},
		{decodeDatacenter, `{"region":"r","capacity":1,"assigned":0}`, "open", "missing"},
		{decodeDatacenter, `{"region":"r","capacity":-1,"assigned":0,"open":true}`, "capacity", "whole number"},
		{decodeDatacenter, `{"region":"r","capacity":1.5,"assigned":0,"open":true}`, "capacity", "whole number"},
		{decodeDatacenter, `{"region":"r","capacity":1e99,"assigned":0,"open":true}`, "capacity", "whole number"},
		{decodeDatacenter, `{"region":"r","capacity":9223372036854775808,"assigned":0,"open":true}`, "capacity", "whole number"},
		{decodeDatacenter, `{"region":"r","capacity":1,"assigned":"0","open":true}`, "assigned", "whole number"},
		{decodeDatacenter, `{"region":".","capacity":1,"assigned":0,"open":true}`, "region", "relative"},
	} {
		err := test.decode([]byte(test.data))
		var decodeErr *DecodeError
		if !errors.As(err, &decodeErr) || !errors.Is(err, discovery.ErrBadData) {
			t.Errorf("%s: error %v, want a *DecodeError of kind discovery.ErrBadData", test.data, err)
			continue
		}
		if decodeErr.Field != test.field || !strings.Contains(decodeErr.Reason, test.says) {
			t.Errorf("%s: %v; want field %q, and %q", test.data, err, test.field, test.says)
		}
		if text := err.Error(); !strings.Contains(text, `"n"`) || !strings.Contains(text, test.field) {
			t.Errorf("%s: %q names not both record and field", test.data, text)
		}
	}
}

func TestDecodeRegionAndDatacenter(t *testing.T) {
	r, err := DecodeRegion("us-east1", []byte(`{"open":true,"x":0}`), 7)
	if err != nil || r != (Region{Name: "us-east1", Open: true, Zxid: 7}) {
		t.Errorf("%+v, %v", r, err)
	}
	d, err := DecodeDatacenter("ash1", []byte(`{"region":"us-east1","capacity":1000,"assigned":1812,"open":true}`), 8)
	if err != nil || d != (Datacenter{Name: "ash1", Region: "us-east1", Capacity: 1000, Assigned: 1812, Open: true, Zxid: 8}) {
		t.Errorf("%+v, %v", d, err)
	}
	if d.Headroom() != -812 {
		t.Errorf("headroom %d", d.Headroom())
	}
}

func TestDecodeShopInterns(t *testing.T) {
	var known homes
	kept := known.of([]byte("ash1"))
	data := []byte(`{"datacenter":"ash1"}`)
	if n := alloctest.Fewest(func() {
		if home, err := known.decode("42", data); err != nil || home != kept {
			t.Error(home, err)
		}
	}); n != 0 {
		t.Errorf("%d allocations for a datacenter that is known", n)
	}
	shop, err := known.decode("42", []byte(`{"datacenter":"ash2"}`))
	if err != nil || shop.Datacenter != "ash2" {
		t.Errorf("a datacenter that is not known: %+v, %v", shop, err)
	}
}

func FuzzDecodeShop(f *testing.F) {
	f.Add([]byte(`{"datacenter":"ash1"}`))
	f.Add([]byte(` { "datacenter" : "ash1" , "x" : [1,{"datacenter":2}] } `))
	f.Add([]byte(`{"datacenter":"\u0061"}`))
	f.Add([]byte(`{"datacenter":"a"}{`))
	f.Add([]byte(bom + `{"datacenter":"a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		shop, err := DecodeShop("42", data)
		checkDecoded(t, data, err, map[string]any{"datacenter": shop.Datacenter})
		if err == nil && discovery.ValidateName(shop.Datacenter) != nil {
			t.Fatalf("accepted the datacenter %q", shop.Datacenter)
		}
	})
}

func FuzzDecodeRegion(f *testing.F) {
	f.Add([]byte(`{"open":true}`))
	f.Add([]byte(`{"open":false,"open":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRegion("r", data, 1)
		checkDecoded(t, data, err, map[string]any{"open": r.Open})
	})
}

func FuzzDecodeDatacenter(f *testing.F) {
	f.Add([]byte(`{"region":"us-east1","capacity":1000,"assigned":812,"open":true}`))
	f.Add([]byte(`{"region":"r","capacity":1e3,"assigned":-0,"open":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := DecodeDatacenter("d", data, 1)
		checkDecoded(t, data, err, map[string]any{
			"region": d.Region, "capacity": d.Capacity, "assigned": d.Assigned, "open": d.Open,
		})
		if d.Capacity < 0 || d.Assigned < 0 {
			t.Fatalf("accepted %+v", d)
		}
	})
}

// checkDecoded compares what was decoded with what encoding/json makes of the
// same data: nothing is accepted that is no JSON, and the fields are the same.
func checkDecoded(t *testing.T, data []byte, err error, fields map[string]any) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, discovery.ErrBadData) {
			t.Fatalf("error %v is not discovery.ErrBadData", err)
		}
		return
	}
	data = bytes.TrimPrefix(data, []byte(bom)) // encoding/json does not take it
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatalf("accepted what is no JSON object: %v", err)
	}
	for name, value := range fields {
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(object[name], &a) != nil || json.Unmarshal(want, &b) != nil || a != b {
			t.Fatalf("field %s is %s, decoded as %s", name, object[name], want)
		}
	}
}

func BenchmarkDecodeShop(b *testing.B) {
	var known homes
	kept := known.of([]byte("ash1"))
	for _, bm := range []struct{ name, data string }{
		{"plain", `{"datacenter":"ash1"}`},
		{"150 bytes", `{"datacenter":"ash1"` + strings.Repeat(" ", 129) + `}`},
		{"more fields", `{"datacenter":"ash1","since":"2019-01-01"}`},
	} {
		b.Run(bm.name, func(b *testing.B) {
			data := []byte(bm.data)
			b.ReportAllocs()
			for b.Loop() {
				if home, err := known.decode("42", data); err != nil || home != kept {
					b.Fatal(home, err)
				}
			}
		})
	}
	b.Run("encoding json", func(b *testing.B) {
		data := []byte(`{"datacenter":"ash1"}`)
		b.ReportAllocs()
		for b.Loop() {
			var record struct{ Datacenter string }
			if err := json.Unmarshal(data, &record); err != nil {
				b.Fatal(err)
			}
		}
	})
}
