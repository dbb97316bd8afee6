package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
)

// maxTrusted is how much memory a body gets for its announced length, in bytes. It is enough
// for 4,000 names of 12 letters. A longer body gets more memory as it comes. So a client
// cannot take memory by announcing a body that it never sends.
const maxTrusted = 64 << 10

var _ requestBody = (*exchange)(nil)

// readBody implements requestBody. If the body is not read to its end, the connection is
// closed after the answer: the bytes that follow on it are no request.
func (x *exchange) readBody(dst *bytes.Buffer, most int64) error {
	if err := checkContent(x.r.Header); err != nil {
		return err
	}
	if x.r.ContentLength > most {
		return x.tooLarge(most)
	}
	if announced := int(x.r.ContentLength); announced > 0 {
		// One byte more than there is: ReadFrom need not grow to see the end.
		dst.Grow(min(announced, maxTrusted) + bytes.MinRead)
	}
	n, err := dst.ReadFrom(io.LimitReader(x.r.Body, most+1))
	switch {
	case n > most:
		return x.tooLarge(most)
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		x.w.Header()["Connection"] = closeConnection
		return &requestError{kindSlowBody, "the body did not come in time"}
	default:
		x.w.Header()["Connection"] = closeConnection
		return badRequest("the body cannot be read: " + err.Error())
	}
}

func (x *exchange) tooLarge(most int64) error {
	x.w.Header()["Connection"] = closeConnection
	return &requestError{kindBodyTooLarge, fmt.Sprintf("the body has more than %d bytes; ask in several requests", most)}
}

// checkContent refuses a body that is certainly not JSON. A body without a Content-Type is
// taken for JSON.
func checkContent(header http.Header) error {
	if encoding := header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &requestError{kindMediaType, fmt.Sprintf("Content-Encoding %q is not understood; send the body as it is", encoding)}
	}
	sent := header.Get("Content-Type")
	if sent == "" || sent == "application/json" {
		return nil
	}
	if mediaType, _, err := mime.ParseMediaType(sent); err != nil || mediaType != "application/json" {
		return &requestError{kindMediaType, fmt.Sprintf("Content-Type %q is not application/json; with curl, --json instead of -d sends it", sent)}
	}
	return nil
}
