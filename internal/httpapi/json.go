package httpapi

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// appendString appends s as a JSON string. Names are valid UTF-8. In other strings each
// invalid byte becomes U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error says that a byte was replaced
	return dst
}

// appendFloat appends a finite number as encoding/json does, with the fewest digits that
// read back as f.
func appendFloat(dst []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}
