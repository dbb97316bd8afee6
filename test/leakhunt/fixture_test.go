package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func stackOf(functions ...string) (s suspect) {
	for _, f := range functions {
		name, file, _ := strings.Cut(f, " ")
		s.Stack = append(s.Stack, frame{Function: name, File: file, Line: 1})
	}
	return s
}

// A suspect of several stacks has in its chain what they have in common, and the ways
// where they differ.
func TestCheckOfSeveralStacks(t *testing.T) {
	var l leaks
	const answer = `{"suspects":1,"stacks":[{"stack":[{"function":"calloc"}],"chain":[{"function":"calloc"},
		{"ways":[{"stack":[{"function":"deserialize_String_vector","file":"g/zookeeper.jute.c","line":1},{"function":"deserialize_GetChildren2Response","file":"g/zookeeper.jute.c","line":2}]},{"stack":[{"function":"other"}]}],"count":2},
		{"function":"process_sync_completion","file":"src/zookeeper.c","line":3},{"function":"zookeeper_process","file":"src/zookeeper.c","line":4},{"function":"do_io","file":"src/mt_adaptor.c","line":5}]}]}`
	if err := json.Unmarshal([]byte(answer), &l); err != nil {
		t.Fatal(err)
	}
	if err := fixtures[0].check(&l); err != nil {
		t.Error(err)
	}
	l.Stacks[0].Chain = l.Stacks[0].Chain[:1]
	if err := fixtures[0].check(&l); err == nil {
		t.Error("half of the stack is enough")
	}
}

func TestCheck(t *testing.T) {
	vector, handler, clean := &fixtures[0], &fixtures[1], &fixtures[2]
	one := func(s suspect) *leaks { return &leaks{Suspects: 1, Stacks: []suspect{s}} }
	right := stackOf("calloc", "deserialize_String_vector g/zookeeper.jute.c", "deserialize_GetChildren2Response g/zookeeper.jute.c",
		"process_sync_completion.part.0 src/zookeeper.c", "zookeeper_process src/zookeeper.c", "do_io src/mt_adaptor.c", "start_thread")
	for _, c := range []struct {
		name string
		f    *fixture
		l    *leaks
		want string // in the error
	}{
		{"the vector", vector, one(right), ""},
		{"the handler", handler, one(stackOf("__strdup", "leak_remember g/leakhandler.c", "runtime.asmcgocall", "runtime.cgocall",
			"main.remember magellan/leakhandler.go", "main.leakingReader.Shop magellan/leakhandler.go",
			"magellan/internal/shops.(*Service).Shop", "magellan/internal/httpapi.(*Server).getShop httpapi/shops.go")), ""},
		{"nothing", vector, &leaks{}, "no suspect"},
		{"another stack", handler, one(right), "no strdup"},
		{"no line", vector, one(stackOf("deserialize_String_vector", "deserialize_GetChildren2Response",
			"process_sync_completion", "zookeeper_process", "do_io")), "not in a line of zookeeper.jute.c"},
		{"other order", vector, one(stackOf("do_io src/mt_adaptor.c", "zookeeper_process src/zookeeper.c",
			"deserialize_String_vector g/zookeeper.jute.c")), "no deserialize_GetChildren2Response"},
		{"clean", clean, &leaks{}, ""},
		{"not clean", clean, one(right), "1 suspects where nothing leaks"},
	} {
		err := c.f.check(c.l)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
