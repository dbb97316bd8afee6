package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal returns both ends of a pseudo-terminal: what is written to tty can be
// read from screen.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

func TestProgressOnTerminal(t *testing.T) {
	screen, tty := terminal(t)
	shown := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(screen) // ends with an error when tty is closed
		shown <- string(all)
	}()
	p := newProgress(tty, 1000)
	for deadline := time.Now().Add(patience); p.bar.State().CurrentNum < 500; p.add(1, 1) {
		if time.Now().After(deadline) {
			t.Fatal("the bar does not move")
		}
		<-time.After(time.Millisecond) // the bar is drawn ten times a second
	}
	p.print(func() { fmt.Fprintln(tty, "shops.csv:7: bad") })
	p.finish()
	tty.Close()
	all := <-shown
	for _, want := range []string{" records, ", "/s ", "%", "[", "shops.csv:7: bad"} {
		if !strings.Contains(all, want) {
			t.Errorf("the terminal never showed %q: %q", want, all)
		}
	}
}

func TestNoProgressElsewhere(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 1000)
	p.add(1000, 1000)
	p.finish()
	if out.Len() > 0 {
		t.Errorf("something was shown: %q", &out)
	}
}
