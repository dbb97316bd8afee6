package client

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"magellan/test/world"
)

// TestDocs: the programs in docs/clients.md do what the text says: they print what is there, and what
// there is after a change.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/clients.md")
	if err != nil {
		t.Fatal(err)
	}
	w := world.New(t, "plain:/svc")
	url := "http://" + w.Serve()
	for _, test := range []struct {
		language, begins string
		command          []string
		absent           string // what is printed if the service does not exist
	}{
		{"go", "// Follows", []string{"go", "run", "FILE"}, "no such service"},
		{"sh", "#!/bin/sh", []string{"sh", "FILE"}, ""},
		{"python", `"""Prints`, []string{"/usr/bin/python3", "FILE"}, "service=cart does not exist"},
	} {
		t.Run(test.language, func(t *testing.T) {
			block := regexp.MustCompile("(?s)\n```" + test.language + "\n(" + regexp.QuoteMeta(test.begins) + ".*?)```").FindSubmatch(text)
			if block == nil {
				t.Fatal("docs/clients.md has no such program any more")
			}
			file := filepath.Join(t.TempDir(), "main."+test.language)
			w.Must(os.WriteFile(file, block[1], 0o600))
			w.Put("/svc/cart/a", "10.0.0.1:80")
			w.Put("/svc/blog/a", "10.0.0.9:80")
			test.command[len(test.command)-1] = file
			lines := run(t, w, url, test.command)
			said := func(want string) {
				t.Helper()
				for line := range lines {
					if strings.Contains(line, want) {
						return
					}
				}
				t.Fatalf("it has not printed %q", want)
			}
			said("10.0.0.1:80")
			w.Put("/svc/cart/b", "10.0.0.2:80")
			said("10.0.0.2:80")
			w.Delete("/svc/cart")
			if test.absent != "" {
				said(test.absent)
			}
			w.Put("/svc/cart/c", "10.0.0.3:80")
			said("10.0.0.3:80")
			w.Delete("/svc/cart")
		})
	}
}

// run runs a program until the test ends. It returns the lines that it prints.
func run(t *testing.T, w *world.World, url string, command []string) <-chan string {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		w.Missing(command[0], "build/deps.sh writers readers")
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "MAGELLAN_URL="+url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // `go run` and a shell have children
	out, err := cmd.StdoutPipe()
	w.Must(err)
	cmd.Stderr = os.Stderr
	w.Must(cmd.Start())
	end := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	late := time.AfterFunc(world.Patience, end)
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		late.Stop()
		end()
		for range lines {
		}
		cmd.Wait() // it was killed
	})
	return lines
}
