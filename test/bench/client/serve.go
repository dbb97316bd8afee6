package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
)

// Serve serves on file descriptor 3, which is a listening socket, until ctx ends.
func Serve(ctx context.Context, handler http.Handler) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
