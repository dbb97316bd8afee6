package discovery_test

import (
	"errors"
	"strings"
	"testing"

	"magellan/internal/discovery"
)

// The bounds are those of PathUtils.validatePath in ZooKeeper 3.8, found by
// trying every char.
func TestValidateName(t *testing.T) {
	for _, name := range []string{
		"42", "a b", "...", "..a", "a.", "'\"\\%", "\u00a0", "ü", "東京", "\ud7ff", "\uf900", "\uffef",
		strings.Repeat("x", 255),
	} {
		if err := discovery.ValidateName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, test := range []struct{ name, says string }{
		{"", "empty"},
		{".", "relative"},
		{"..", "relative"},
		{"a/b", "slash"},
		{"/", "slash"},
		{"\x00", "U+0000"},
		{"a\x1fb", "U+001F"},
		{"\x7f", "U+007F"},
		{"\u0080", "U+0080"},
		{"\u009f", "U+009F"},
		{"\ue000", "U+E000"},
		{"\uf8ff", "U+F8FF"},
		{"\ufff0", "U+FFF0"},
		{"\ufffd", "U+FFFD"},
		{"\uffff", "U+FFFF"},
		{"😀", "U+1F600"},
		{"a\xffb", "UTF-8"},
		{"\xed\xa0\x80", "UTF-8"}, // a surrogate
		{strings.Repeat("x", 256), "256 bytes"},
	} {
		err := discovery.ValidateName(test.name)
		if !errors.Is(err, discovery.ErrInvalidName) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: error %v, want one that says %q", test.name, err, test.says)
		}
	}
}

func BenchmarkValidateName(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := discovery.ValidateName("shop-1234567"); err != nil {
			b.Fatal(err)
		}
	}
}
