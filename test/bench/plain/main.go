package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	services := map[string]func() (http.Handler, error){"sqlite": newSQLite, "malloc": newMalloc}
	if len(os.Args) != 2 || services[os.Args[1]] == nil {
		log.Fatalf("usage: %s sqlite | malloc", os.Args[0])
	}
	handler, err := services[os.Args[1]]()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		log.Fatal(fmt.Errorf("file descriptor 3 is no listening socket: %w", err))
	}
	log.Fatal(http.Serve(listener, handler))
}
