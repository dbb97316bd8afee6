//go:build amd64 || arm64

package jemalloc

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

// landmarks is C.struct_landmarks, which tests cannot name otherwise.
type landmarks = _Ctype_struct_landmarks

// region is code from which landmarks are read.
type region struct {
	function   string
	start, end uintptr
	// check returns an error if what was read is not what a processor does that executes the
	// region as it is now.
	check func(landmarks) error
	// unread reports whether the landmarks lack what the region has, which is no error.
	unread func(landmarks) bool
}

// program is a copy of the program's code.
type program struct {
	code        []byte
	text, moved uintptr // its address, and how far that is from the original
}

// name returns the name of the function of an address.
func (p program) name(pc uintptr) string {
	if pc-p.text >= uintptr(len(p.code)) {
		return "?"
	}
	return runtime.FuncForPC(pc - p.moved).Name()
}

// at returns the code from an address on.
func (p program) at(pc uintptr) []byte { return p.code[pc-p.text:] }

// The landmarks are read from a copy of the program's code. Then each byte of what is read
// gets each other value. The reader has to refuse the code, naming its function, or what it
// reads has to be what the changed code does. For that the test executes the code in a
// machine of its own, which decodes instructions in another way than the reader and knows
// more of them. Bytes that are not read make no difference.
func TestLandmarksAreWhatTheCodeDoes(t *testing.T) {
	here, _, _, _ := runtime.Caller(0)
	image := must(findProgram(here))
	original := must(readLandmarks(&image))
	code, moved := copyCode(t, uintptr(image.text), uintptr(image.etext))
	move(&image.text, moved)
	move(&image.etext, moved)
	read := func() (landmarks, error) { return readLandmarks(&image) }

	want, err := read()
	if err != nil {
		t.Fatal(err)
	}
	expected := original
	for _, address := range []*_Ctype_uintptr_t{&expected.asmcgocall, &expected.asmcgocall_end,
		&expected.call_return, &expected.back_return, &expected.cross_return} {
		move(address, moved)
	}
	if want != expected {
		t.Fatalf("read from the copy:\n%+v\nwant\n%+v", want, expected)
	}

	text := uintptr(image.text)
	p := program{code, text, moved}
	regions := regionsOf(t, want, p)
	known := make(map[uintptr]bool)
	for _, r := range regions {
		if err := r.check(want); err != nil {
			t.Fatalf("%s as it is: %v", r.function, err)
		}
		refused, same, other := 0, 0, 0
		for at := r.start; at < r.end; at++ {
			known[at] = true
			b := &p.at(at)[0]
			was := *b
			for change := 1; change < 256; change++ {
				*b = was ^ byte(change)
				got, err := read()
				switch {
				case err != nil && strings.Contains(err.Error(), r.function):
					refused++
				case err == nil && r.unread != nil && r.unread(got):
					refused++
				case err != nil:
					t.Errorf("%s+%d is %#x: %v", r.function, at-r.start, *b, err)
				default:
					if err := r.check(got); err != nil {
						t.Errorf("%s+%d is %#x instead of %#x: %v; read is\n%+v", r.function, at-r.start, *b, was, err, got)
					}
					if got == want {
						same++
					} else {
						other++
					}
				}
			}
			*b = was
		}
		t.Logf("%s: %d bytes, of whose changes %d are refused, %d read as something else, and %d make no difference", r.function, r.end-r.start, refused, other, same)
		if refused == 0 {
			t.Errorf("%s: no change was refused", r.function)
		}
	}
	for _, r := range regions {
		start := r.start
		for start > text && p.name(start-1) == p.name(r.start) {
			start--
		}
		for at := start; p.name(at) == p.name(r.start); at++ {
			if known[at] {
				continue
			}
			b := &p.at(at)[0]
			was := *b
			*b = ^was
			if got, err := read(); err != nil || got != want {
				t.Errorf("%s+%d, outside of what is read, is %#x instead of %#x: %v, %+v", p.name(r.start), at-start, *b, was, err, got)
			}
			*b = was
		}
	}
	if got, err := read(); err != nil || got != want {
		t.Errorf("the code as it was, after all changes: %v, %+v", err, got)
	}
}

func move[T ~uint64](p *T, by uintptr) { *p += T(by) }

// copyCode copies code to where it can be changed without harm, and returns how far that is
// from the original. Instructions address pages, so the copy begins at the same place of a
// page.
func copyCode(t *testing.T, start, end uintptr) (code []byte, moved uintptr) {
	t.Helper()
	const page = 1 << 16
	room := make([]byte, end-start+page)
	at := uintptr(unsafe.Pointer(&room[0]))
	code = room[(start-at)%page:][:end-start]
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	if _, err := memory.ReadAt(code, int64(start)); err != nil {
		t.Fatal(err)
	}
	return code, uintptr(unsafe.Pointer(&code[0])) - start
}

// value is what a register or a word of memory has: a distance from something that has a
// name, such as the stack pointer at the start.
type value struct {
	of  string
	off int64
}

func (v value) String() string { return fmt.Sprintf("%s%+d", v.of, v.off) }

// loaded is what is in memory at an address.
func loaded(address value) value { return value{of: "[" + address.String() + "]"} }

// minus is a difference.
func minus(a, b value) value { return value{of: "(" + a.String() + ")-(" + b.String() + ")"} }

// memory is the stack, by distances from the stack pointer at the start.
type memory map[int64]value

// store overwrites all words of which it overwrites a part.
func (m memory) store(at int64, v value) {
	for off := at - 7; off < at+8; off++ {
		delete(m, off)
	}
	m[at] = v
}

// expect returns an error if memory at an address, which is sp+off, has another value.
func (m memory) expect(sp value, off int32, want value) error {
	if off < 0 {
		return fmt.Errorf("%v is at %d, where the next call overwrites it", want, off)
	}
	if got := m[sp.off+int64(off)]; sp.of != "sp" || got != want {
		return fmt.Errorf("%v is not at %v%+d, where %v is", want, sp, off, got)
	}
	return nil
}
