package main

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestFlags checks that each flag has an environment variable of its own, and help that
// is a sentence.
func TestFlags(t *testing.T) {
	variables := map[string]*kong.Flag{}
	var walk func(node *kong.Node)
	walk = func(node *kong.Node) {
		for _, f := range node.Flags {
			if f.Name == "help" {
				continue
			}
			if len(f.Tag.Envs) != 1 || !strings.HasPrefix(f.Tag.Envs[0], "MAGELLAN_") {
				t.Errorf("%s --%s has the variables %q, want one MAGELLAN_…", node.FullPath(), f.Name, f.Tag.Envs)
				continue
			}
			env := f.Tag.Envs[0]
			// Commands share the flags that name the data, or the server.
			if other := variables[env]; other != nil && other.Name != f.Name {
				t.Errorf("%s means --%s and --%s", env, f.Name, other.Name)
			}
			variables[env] = f
			if !strings.HasSuffix(f.Help, ".") {
				t.Errorf("%s --%s: help %q is no sentence", node.FullPath(), f.Name, f.Help)
			}
		}
		for _, child := range node.Children {
			walk(child)
		}
	}
	walk(newParser(io.Discard, io.Discard).Model.Node)
	if len(variables) < 30 {
		t.Errorf("only %d flags were looked at", len(variables))
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"1048576": 1 << 20, "256MiB": 256 << 20, "1GB": 1e9, "1.5 GiB": 3 << 29, "0": 0} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "lots", "-1", "1 parsec", "99999999999GiB", "9EiB", "1e9"} {
		var got byteSize
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}

// Secrets end with a newline, in variables as well.
func TestToken(t *testing.T) {
	for given, want := range map[string]string{"": "", "s3cret": "s3cret", "s3cret\n": "s3cret", " s3cret\r\n": "s3cret"} {
		f := tokenFlags{AdminToken: given}
		if got, err := f.token(); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", given, got, err, want)
		}
	}
	for _, given := range []string{" ", "\n", "one\ntwo"} {
		f := tokenFlags{AdminToken: given}
		if got, err := f.token(); err == nil {
			t.Errorf("%q: %q, want an error", given, got)
		}
	}
}
