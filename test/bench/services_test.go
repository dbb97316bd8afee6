package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"magellan/internal/services"
)

func TestFleet(t *testing.T) {
	l, err := services.LayoutNamed("curator")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []fleet{manyServices(200), oneService(300)} {
		if _, err := services.ParseMount(f.mount()); err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for i := range f.all() {
			if ids[f.id(i)] {
				t.Fatalf("%s is there twice", f.id(i))
			}
			ids[f.id(i)] = true
			got, err := f.instance(l, i)
			if err != nil {
				t.Fatal(err)
			}
			version, _ := got.Meta("version")
			if told := fmt.Sprintf(`"version":%q`, version); got.ID != f.id(i) || told != toldBuild(i%5) || !strings.HasSuffix(f.znode(i), f.serviceOf(i)+"/"+got.ID) {
				t.Fatalf("the record of %s is %+v", f.znode(i), got)
			}
			if n := len(f.record(i, 0)); n < 230 || n > 300 {
				t.Fatalf("a record has %d bytes", n)
			}
		}
	}
	f := manyServices(10)
	if f.all() != 200 || f.znodes() != 210 || f.watches() != 221 {
		t.Errorf("%d instances, %d znodes, %d watches", f.all(), f.znodes(), f.watches())
	}
}

func TestTold(t *testing.T) {
	for _, c := range []struct {
		told  told
		value string
		want  bool
	}{
		{told{text: "b"}, "abc", true},
		{told{text: "b"}, "ac", false},
		{told{text: "b", gone: true}, "abc", false},
		{told{text: "b", gone: true}, "ac", true},
		{told{text: "b", gone: true}, "gone b", true},
	} {
		if got := c.told.by(c.value); got != c.want {
			t.Errorf("%v by %q: %v", c.told, c.value, got)
		}
	}
}

// TestDiffers: an answer that lacks an instance, has another one or says something else of one is found.
func TestDiffers(t *testing.T) {
	type instance map[string]any
	f := manyServices(1)
	var all []instance
	records := map[string][]byte{}
	for i := range 3 {
		record := f.record(i, i)
		records[f.id(i)] = []byte(record)
		var parsed struct {
			ID, Address string
			Port        int
			Payload     map[string]string
		}
		if err := json.Unmarshal([]byte(record), &parsed); err != nil {
			t.Fatal(err)
		}
		all = append(all, instance{"id": parsed.ID, "address": parsed.Address, "port": parsed.Port, "status": "UP", "metadata": parsed.Payload, "znode": f.znode(i)})
	}
	answer := func(of []instance) []byte {
		b, err := json.Marshal(map[string]any{"service": f.service(0), "instances": of})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := differs(answer(all), records); err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) instance {
		changed := instance{}
		for k, v := range all[1] {
			changed[k] = v
		}
		changed[key] = value
		return changed
	}
	for what, of := range map[string][]instance{
		"one lacks":      all[:2],
		"one is twice":   {all[0], all[1], all[1]},
		"one more":       append(slices.Clone(all), with("znode", f.znode(7))),
		"another ID":     {all[0], with("id", "x"), all[2]},
		"another port":   {all[0], with("port", 1), all[2]},
		"another status": {all[0], with("status", "DOWN"), all[2]},
		"older metadata": {all[0], with("metadata", map[string]string{"zone": "eu-b", "version": "1.7.0", "weight": "2"}), all[2]},
		"another znode":  {all[0], with("znode", f.znode(9)), all[2]},
	} {
		if differs(answer(of), records) == nil {
			t.Errorf("%s: not found", what)
		}
	}
}

// TestChurnResult: the first answer with a change in it counts, and a change that is in none is found.
func TestChurnResult(t *testing.T) {
	f := &follower{service: "cart"}
	for i, ids := range [][]int{{0}, {0, 1}, {1, 2}, {2}} {
		body := `{"instances":[{"id":"x"}`
		for _, n := range ids {
			body += `,` + passingMark + fmt.Sprint(n) + `","znode":"/services/cart/` + passing(n) + `"}`
		}
		if err := f.observe([]byte(body+"]}"), int64(1000*i)); err != nil {
			t.Fatal(err)
		}
	}
	if f.observe([]byte(`{"instances":[]}`), 0) == nil {
		t.Error("an answer without an instance that passes is taken")
	}
	// 1 came at 1000 and 2 at 2000, 0 went at 2000 and 1 at 3000.
	c := &churn{followers: []*follower{f}, created: [][]int64{{400, 1000}}, removed: [][]int64{{1500, 2900}}}
	r := churnResult{changes: 4}
	c.evaluate(&r)
	if r.unseen != 0 || r.answers != 4 || r.coalesced != 1 || r.seen != (delays{p50: 0.5, p99: 1}) {
		t.Errorf("got %+v", r)
	}
	c.created[0] = append(c.created[0], 2500)
	r = churnResult{changes: 5}
	if c.evaluate(&r); r.unseen != 1 {
		t.Errorf("a change that is in no answer: %+v", r)
	}
}
