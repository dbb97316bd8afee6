package httpapi

import "net/http"

// An exchange is the ResponseWriter of its request: it notes the status and counts the
// bytes, for the metrics and the access log.
var _ http.ResponseWriter = (*exchange)(nil)

// Header implements [http.ResponseWriter].
func (x *exchange) Header() http.Header { return x.w.Header() }

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.w.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.w.Write(b)
	if x.r.Method != http.MethodHead { // of which net/http sends the header only
		x.bytes += int64(n)
	}
	return n, err
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }
