// Command services registers the instances of a file in ZooKeeper, as the programs of other
// people would, for make run. Each line is a znode's path, a tab and its data. The znodes are
// ephemeral: they are there until the command is told to end (SIGINT, SIGTERM).
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"magellan/internal/zk"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "services:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return errors.New("usage: services SERVERS FILE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	client, err := zk.Open(zk.Config{Servers: []string{os.Args[1]}, SessionTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer client.Close() // which removes the znodes
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	n, err := register(ctx, client, os.Args[2])
	if err != nil {
		return err
	}
	fmt.Printf("services: %d instances are registered\n", n)
	<-ctx.Done()
	return nil
}

// register creates a znode for each line of a file, and returns their number.
func register(ctx context.Context, client *zk.Client, file string) (n int, err error) {
	lines, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer lines.Close()
	scan := bufio.NewScanner(lines)
	for ; scan.Scan(); n++ {
		path, data, ok := strings.Cut(scan.Text(), "\t")
		if !ok {
			return n, fmt.Errorf("%s:%d: there is no tab", file, n+1)
		}
		for i := range path {
			if i > 0 && path[i] == '/' {
				if _, _, err := client.Create(ctx, path[:i], nil, zk.CreateOptions{}); err != nil && !errors.Is(err, zk.ErrNodeExists) {
					return n, err
				}
			}
		}
		if _, _, err := client.Create(ctx, path, []byte(data), zk.CreateOptions{Mode: zk.Ephemeral}); err != nil {
			return n, err
		}
	}
	return n, scan.Err()
}
