// Command zstd compresses and decompresses over HTTP, in C:
//
//	/pack?n=N     n bytes, compressed
//	/echo?n=N     n bytes, compressed and decompressed
//	/leak?n=N     as echo, but it does not close the reader that decompresses
//
// It prints its URL, and ends when its standard input is closed.
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/DataDog/zstd"
)

func main() {
	serve := func(path string, f func(text []byte) ([]byte, error)) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			var n int
			fmt.Sscan(r.FormValue("n"), &n)
			if n < 0 || n > 1<<20 {
				http.Error(w, "n is out of range", http.StatusBadRequest)
				return
			}
			out, err := f(bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n])
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Write(out)
		})
	}
	serve("/pack", pack)
	serve("/echo", func(text []byte) ([]byte, error) {
		packed, err := pack(text)
		if err != nil {
			return nil, err
		}
		return unpack(packed)
	})
	serve("/leak", func(text []byte) ([]byte, error) {
		packed, err := pack(text)
		if err != nil {
			return nil, err
		}
		return unpackAndForget(packed)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s\n", l.Addr())
	go http.Serve(l, nil)
	io.Copy(io.Discard, os.Stdin)
}

func pack(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w := zstd.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		w.Close()
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

func unpack(packed []byte) ([]byte, error) {
	r := zstd.NewReader(bytes.NewReader(packed))
	defer r.Close()
	return io.ReadAll(r)
}

// unpackAndForget does not close its reader.
//
//go:noinline
func unpackAndForget(packed []byte) ([]byte, error) {
	r := zstd.NewReader(bytes.NewReader(packed)) // LEAK
	return io.ReadAll(r)
}
