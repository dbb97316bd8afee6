package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"magellan/cgo/jemalloc/heapprof"
)

// framed writes frames and the end.
func framed(frames ...string) []byte {
	var out bytes.Buffer
	for _, f := range append(frames, "") {
		_ = binary.Write(&out, binary.LittleEndian, uint32(len(f)))
		out.WriteString(f)
	}
	return out.Bytes()
}

func readAnswer(r io.Reader) (string, error) {
	a := answer{in: r}
	if err := a.begin(7); err != nil {
		return "", err
	}
	body, err := io.ReadAll(&a)
	return string(body), err
}

func TestAnswer(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		frames []string
		want   string
	}{
		{[]string{"ok"}, ""},
		{[]string{"ok", "one\n", "two\n"}, "one\ntwo\n"},
		{[]string{"ok", long, "end"}, long + "end"},
	} {
		for _, one := range []bool{false, true} {
			r := io.Reader(bytes.NewReader(framed(c.frames...)))
			if one {
				r = iotest.OneByteReader(r)
			}
			if got, err := readAnswer(r); err != nil || got != c.want {
				t.Errorf("%.60q: %.60q, %v", c.frames, got, err)
			}
		}
	}
}

// TestAnswerCut cuts an answer at each of its bytes.
func TestAnswerCut(t *testing.T) {
	whole := framed("ok", "heap_v2/524288\n", "  t*: 1: 2 [3: 4]\n")
	for n := range whole {
		if got, err := readAnswer(bytes.NewReader(whole[:n])); !errors.Is(err, ErrCut) {
			t.Errorf("%d of %d bytes: %q, %v", n, len(whole), got, err)
		}
	}
	reset := errors.New("connection reset")
	if _, err := readAnswer(io.MultiReader(bytes.NewReader(whole[:10]), iotest.ErrReader(reset))); !errors.Is(err, reset) {
		t.Errorf("another error than the end is lost: %v", err)
	}
}

func TestAnswerRefused(t *testing.T) {
	for frame, want := range map[string]string{
		"error not your process": "the agent of process 7 answers: not your process",
		"error \x1b[2Jboo\n":     "the agent of process 7 answers: ?[2Jboo",
	} {
		_, err := readAnswer(bytes.NewReader(framed(frame)))
		var refused *Refused
		if !errors.As(err, &refused) || err.Error() != want {
			t.Errorf("%q: %v", frame, err)
		}
	}
	for _, text := range [][]byte{
		framed(), framed("okay"), framed("HTTP/1.1 400 Bad Request"), []byte("SSH-2.0-OpenSSH_9.2\r\n"), framed(strings.Repeat("x", maxFirst+1)),
	} {
		if _, err := readAnswer(bytes.NewReader(text)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func TestLimited(t *testing.T) {
	for limit, want := range map[int64]error{9: ErrTooLarge, 10: nil} {
		_, err := io.ReadAll(&limited{strings.NewReader("0123456789"), limit})
		if !errors.Is(err, want) {
			t.Errorf("limit %d: %v, want %v", limit, err, want)
		}
	}
}

func TestStatus(t *testing.T) {
	got, err := parseStatus(statusText)
	want := Status{
		Version: "00ff12ab00ff12ab", PID: 1, UID: 1000, Active: true, Sample: 524288, LiveObjects: 12, LiveBytes: 3456789, LiveEstimate: 4000000,
		Objects: 100, Bytes: 98765432, Stacks: 7, StacksDropped: 2, Missed: 1, OwnBytes: 2097152, Unwinder: "c+go",
		Malloc: "/lib/x86_64-linux-gnu/libc.so.6", First: true, Entered: "preload", GoTextStart: 0x401000, GoTextEnd: 0x4a2b3c,
		Walks: 1000, WalksCut: 3, WalkReasons: map[string]int64{"lost_frame": 2, "too_deep": 1},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\n%v", got, want, err)
	}
	for _, bad := range []string{
		"", "protocol 2\n", "state on\n", "protocol 1\nsample many\n", "protocol 1\ngo_text 0x20-0x10\n", "protocol 1\ngo_text 0x20-\n",
		"protocol 1\nwalks_lost x\n",
	} {
		if s, err := parseStatus(bad); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: %+v, %v", bad, s, err)
		}
	}
}

func TestNames(t *testing.T) {
	text := "0x401234\n\tmain.leak[...]\t/src/main.go\t12\n\tmain.main\t/src/main.go\t40\n0x5\n0x401300\n\tmain.\x1bx\t\t0\n"
	got := make(map[uint64][]heapprof.Frame)
	err := parseNames(text, got)
	want := map[uint64][]heapprof.Frame{
		0x401234: {{Function: "main.leak[...]", File: "/src/main.go", Line: 12}, {Function: "main.main", File: "/src/main.go", Line: 40}},
		0x401300: {{Function: "main.?x"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"\tmain.main\t/src/main.go\t40\n", "here\n", "0x1\n\tmain.main\n", "0x1\n\t\tf.go\t1\n", "0x1\n\tmain.main\tf.go\tx\n"} {
		if err := parseNames(bad, make(map[uint64][]heapprof.Frame)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseSockets(t *testing.T) {
	text := `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 18342 /run/dbus/system_bus_socket
0000000000000000: 00000003 00000000 00000000 0001 03 20001
0000000000000000: 00000002 00000000 00010000 0001 01 20002 @magellan-agent/12/0123456789abcdef
0000000000000000: 00000003 00000000 00000000 0001 03 20003 @magellan-agent/12/0123456789abcdef
0000000000000000: 00000002 00000000 00010000 0001 01 20004 /magellan-agent/13/0123456789abcdef
0000000000000000: 00000002 00000000 00010000 0001 01 20005 @magellan-agent/x/0123456789abcdef
0000000000000000: 00000002 00000000 00010000 0001 01 20006 @magellan-agent/14
`
	want := []socket{{name: "magellan-agent/12/0123456789abcdef", pid: 12, inode: "20002"}}
	if got := parseSockets([]byte(text)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// FuzzAnswer checks that no answer is read as a shorter one, and that texts are harmless.
func FuzzAnswer(f *testing.F) {
	f.Add(framed("ok", statusText))
	f.Add(framed("ok", "0x401234\n\tmain.main\t/src/main.go\t40\n"))
	f.Add(framed("error no"))
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := readAnswer(bytes.NewReader(data))
		if err != nil {
			return
		}
		if n := len(data); n > 0 {
			// The last byte belongs to the end, unless something follows that is not read.
			_, err := readAnswer(bytes.NewReader(data[:n-1]))
			used := bytes.NewReader(data)
			a := answer{in: used}
			_ = a.begin(1)
			_, _ = io.Copy(io.Discard, &a)
			if err == nil && used.Len() == 0 {
				t.Errorf("%q is read without its last byte", data)
			}
		}
		if s, err := parseStatus(body); err == nil {
			checkHarmless(t, fmt.Sprintf("%+v", s))
		}
		names := make(map[uint64][]heapprof.Frame)
		if parseNames(body, names) == nil {
			checkHarmless(t, fmt.Sprintf("%+v", names))
		}
		parseSockets([]byte(body))
	})
}

func checkHarmless(t *testing.T, text string) {
	if printable(text) != text {
		t.Errorf("%q has control characters", text)
	}
}
