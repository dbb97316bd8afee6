// Command zookeeper runs a real ZooKeeper server on a loopback address with its
// data in a temporary directory, for make run. It prints the server's host:port
// once it takes sessions, and ends the server when it is told to end (SIGINT,
// SIGTERM) or when the server ends by itself.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"magellan/internal/zk/zktest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "zookeeper:", err)
		os.Exit(1)
	}
}

func run() error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	server, err := zktest.New(zktest.Config{})
	if err != nil {
		return err
	}
	fmt.Println(server.Addr())
	select {
	case <-end:
		return server.Close()
	case <-server.Done():
		log := server.Log()
		server.Close()
		return fmt.Errorf("the server ended by itself; its log ends with:\n%s", log)
	}
}
