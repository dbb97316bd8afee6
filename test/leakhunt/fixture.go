package main

import (
	"fmt"
	"strings"
)

// fixture is one magellan that is watched.
type fixture struct {
	name string
	// stack is what the first suspect must have on its stack, in this order, the
	// innermost first, not all of it; nil is for who must not have a suspect.
	stack []string
	// files are where the functions of stack are, as far as it is known by name.
	files map[string]string
	// gets and reads say which load it is under.
	gets, reads bool
}

var fixtures = []fixture{
	{
		name: "leakvector",
		stack: []string{
			"deserialize_String_vector", "deserialize_GetChildren2Response", "process_sync_completion", "zookeeper_process", "do_io",
		},
		files: map[string]string{"deserialize_String_vector": "zookeeper.jute.c", "zookeeper_process": "zookeeper.c", "do_io": "mt_adaptor.c"},
		reads: true,
	},
	{
		name: "leakhandler",
		stack: []string{
			"strdup", "leak_remember", "runtime.cgocall", "main.remember", "main.leakingReader.Shop", "shops.(*Service).Shop", "httpapi.(*Server).getShop",
		},
		files: map[string]string{"leak_remember": "leakhandler.c", "main.remember": "leakhandler.go", "httpapi.(*Server).getShop": "shops.go"},
		gets:  true,
	},
	{name: "magellan", gets: true, reads: true},
}

// check reports what is wrong with the suspects of f, nil if it is nothing.
func (f *fixture) check(l *leaks) error {
	if f.stack == nil {
		if l.Suspects > 0 {
			return fmt.Errorf("%d suspects where nothing leaks; the first: %s", l.Suspects, l.Stacks[0])
		}
		return nil
	}
	if l.Suspects == 0 || len(l.Stacks) == 0 {
		return fmt.Errorf("no suspect in %d samples over %.0f s", l.Samples, l.SpanSeconds)
	}
	return f.checkStack(l.Stacks[0])
}

// checkStack looks for the functions of f.stack.
func (f *fixture) checkStack(s suspect) error {
	rest := s.frames()
	for _, want := range f.stack {
		for len(rest) > 0 && !named(rest[0].Function, want) {
			rest = rest[1:]
		}
		if len(rest) == 0 {
			return fmt.Errorf("the first suspect has no %s where it should be: %s", want, s)
		}
		if file := f.files[want]; file != "" && (!strings.HasSuffix(rest[0].File, "/"+file) || rest[0].Line <= 0) {
			return fmt.Errorf("the first suspect has %s at %s:%d, not in a line of %s: %s", want, rest[0].File, rest[0].Line, file, s)
		}
		rest = rest[1:]
	}
	return nil
}

// named reports whether a function is the one wanted, whatever its package is
// imported as; C names may have a suffix of the compiler's (.part.0) or of
// glibc's (__strdup).
func named(function, want string) bool {
	function, _, _ = strings.Cut(function, ".part.")
	return function == want || strings.HasSuffix(function, "/"+want) || function == "__"+want
}

// leaks is the part of GET /admin/jeprof/leaks that is looked at.
type leaks struct {
	SpanSeconds float64   `json:"span_seconds"`
	Samples     int       `json:"samples"`
	Suspects    int       `json:"suspects"`
	Stacks      []suspect `json:"stacks"`
}

type suspect struct {
	BytesPerHour float64 `json:"bytes_per_hour"`
	Confidence   float64 `json:"confidence"`
	Stack        []frame `json:"stack"`
	Chain        []link  `json:"chain"` // of a suspect of several stacks
}

// link is a function that the stacks of a suspect have in common, or the ways where
// they differ.
type link struct {
	frame
	Ways []struct {
		Stack []frame `json:"stack"`
	} `json:"ways"`
}

// frames is the stack of a suspect, or of several the one that grew most.
func (s suspect) frames() []frame {
	if len(s.Chain) == 0 {
		return s.Stack
	}
	var all []frame
	for _, l := range s.Chain {
		if len(l.Ways) > 0 {
			all = append(all, l.Ways[0].Stack...)
		} else {
			all = append(all, l.frame)
		}
	}
	return all
}

type frame struct {
	Function string `json:"function"`
	File     string `json:"file"`
	Line     int    `json:"line"`
}

func (s suspect) String() string {
	frames := s.frames()
	names := make([]string, len(frames))
	for i, f := range frames {
		names[i] = fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line)
	}
	return strings.Join(names, " < ")
}
