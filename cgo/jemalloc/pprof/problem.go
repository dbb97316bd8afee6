package pprof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// badRequest is the error of a request with invalid parameters.
type badRequest struct{ what string }

func (e badRequest) Error() string { return e.what }

// status returns the HTTP status of an error.
func status(err error) int {
	switch {
	case errors.As(err, new(badRequest)):
		return http.StatusBadRequest
	case errors.Is(err, errUnknownDump), errors.Is(err, fs.ErrNotExist): // the second if somebody deleted the dump's file
		return http.StatusNotFound
	case errors.As(err, new(wrongFormat)):
		return http.StatusNotAcceptable
	case errors.Is(err, errNoProfile):
		return http.StatusConflict
	case errors.Is(err, errBusy):
		return http.StatusTooManyRequests
	case errors.Is(err, errTooLarge):
		return http.StatusInsufficientStorage
	case errors.Is(err, errors.ErrUnsupported):
		return http.StatusNotImplemented
	case errors.Is(err, ErrNotProfiled), errors.Is(err, ErrClosed), errors.Is(err, errNoHome),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// fail answers a request of the JSON API with a problem document (RFC 9457).
func (r *Recorder) fail(w http.ResponseWriter, q *http.Request, err error) {
	code := r.failing(w, q, err)
	problem(w, code, err.Error())
}

// failPlain answers a request with an error as net/http/pprof does. go tool pprof prints
// the text.
func (r *Recorder) failPlain(w http.ResponseWriter, q *http.Request, err error) {
	code := r.failing(w, q, err)
	header(w, "text/plain; charset=utf-8", "")
	w.Header().Set("X-Go-Pprof", "1")
	w.WriteHeader(code)
	fmt.Fprintln(w, err)
}

// failing returns the HTTP status of an error. It logs the error if it is the server's
// fault, and sets Retry-After if the client should repeat the request.
func (r *Recorder) failing(w http.ResponseWriter, q *http.Request, err error) int {
	code := status(err)
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	if code == http.StatusInternalServerError {
		r.log.Warn("a heap profile could not be served", "path", q.URL.Path, "error", err)
	}
	return code
}

func problem(w http.ResponseWriter, code int, detail string) {
	write(w, code, "application/problem+json", struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{http.StatusText(code), code, detail})
}

func writeJSON(w http.ResponseWriter, code int, v any) { write(w, code, "application/json", v) }

func write(w http.ResponseWriter, code int, contentType string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // a number that JSON cannot express, such as NaN
		return
	}
	header(w, contentType, "")
	w.WriteHeader(code)
	w.Write(append(body, '\n')) // an error means that the client is gone
}

// header sets the headers that every answer has. attachment is the name of the file in
// which a browser saves the answer. If it is empty, the browser shows the answer.
func header(w http.ResponseWriter, contentType, attachment string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	if attachment != "" {
		h.Set("Content-Disposition", `attachment; filename="`+attachment+`"`)
	}
}

// formatParam returns the parameter ?format=, which must be one of formats. The default is
// the first of them.
func formatParam(q *http.Request, formats ...string) (string, error) {
	f := q.URL.Query().Get("format")
	if f == "" {
		return formats[0], nil
	}
	if !slices.Contains(formats, f) {
		return "", badRequest{fmt.Sprintf("format=%s is unknown: want one of %s", strconv.Quote(f), strings.Join(formats, ", "))}
	}
	return f, nil
}

// boolParam returns a parameter such as ?all=1. It is false if it is missing.
func boolParam(q *http.Request, name string) (bool, error) {
	v := q.URL.Query().Get(name)
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, badRequest{fmt.Sprintf("%s=%s: want 1 or 0", name, strconv.Quote(v))}
	}
	return b, nil
}
