package jemalloc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

const sp = 31

// machine executes instructions that move values between registers and the stack.
type machine struct {
	program program
	regs    [32]value
	memory  memory
	called  value // the address that the last instruction called
}

func newMachine(p program) *machine {
	m := &machine{program: p, memory: make(memory)}
	for i := range m.regs {
		m.regs[i].of = fmt.Sprintf("x%d", i)
	}
	m.regs[sp].of = "sp"
	return m
}

// run executes the code from start to end. Its last instruction has to be a call. Before
// that it may call loadG, which changes x0 and x27.
func (m *machine) run(start, end uintptr, loadG string) error {
	for pc := start; pc < end; pc += 4 {
		if m.called.of == "" && m.called.off != 0 {
			if m.program.name(uintptr(m.called.off)) != loadG || m.program.name(uintptr(m.called.off-4)) == loadG {
				return fmt.Errorf("at +%d: %v was called", pc-start, m.called)
			}
			m.regs[0], m.regs[27], m.regs[30] = value{}, value{}, value{}
		} else if m.called.of != "" {
			return fmt.Errorf("at +%d: %v was called", pc-start, m.called)
		}
		m.called = value{}
		if !m.step(pc) {
			return fmt.Errorf("at +%d: an instruction that this machine does not know", pc-start)
		}
	}
	return nil
}

func extend(x uint32, bits int) int64 { return int64(x) << (64 - bits) >> (64 - bits) }

func (m *machine) step(pc uintptr) bool {
	x := binary.LittleEndian.Uint32(m.program.at(pc))
	d, n, t2 := x&31, x>>5&31, x>>10&31
	base := m.regs[n]
	immediate := int64(x >> 10 & 0xfff)
	pair := extend(x>>15&0x7f, 7) * 8
	zero := func(r uint32) value { // in stores register 31 is zero
		if r == sp {
			return value{}
		}
		return m.regs[r]
	}
	switch {
	case x>>22 == 0b11_1110_0100 && base.of == "sp": // str
		m.memory.store(base.off+immediate*8, zero(d))
	case x>>22 == 0b11_1110_0101 && d != sp: // ldr
		base.off += immediate * 8
		m.regs[d] = loaded(base)
	case x>>22 == 0b10_1010_0100 && base.of == "sp": // stp
		m.memory.store(base.off+pair, zero(d))
		m.memory.store(base.off+pair+8, zero(t2))
	case x>>22 == 0b01_1011_0100 && base.of == "sp": // stp of floating point registers
		m.memory.store(base.off+pair, value{of: fmt.Sprintf("d%d", d)})
		m.memory.store(base.off+pair+8, value{of: fmt.Sprintf("d%d", t2)})
	case x>>22 == 0b11_0100_0100: // sub immediate
		m.regs[d] = value{base.of, base.off - immediate}
	case x>>22 == 0b10_0100_0100: // add immediate
		m.regs[d] = value{base.of, base.off + immediate}
	case x>>21 == 0b110_0101_1000 && x>>10&0x3f == 0 && d != sp && n != sp && x>>16&31 != sp: // sub of registers
		m.regs[d] = minus(base, m.regs[x>>16&31])
	case x>>31 == 1 && x>>24&0x1f == 0b1_0000 && d != sp: // adrp
		pages := extend(x>>5&0x7ffff<<2|x>>29&3, 21)
		m.regs[d] = value{"", int64(pc)&^0xfff + pages<<12}
	case x>>26 == 0b10_0101: // bl
		m.called = value{"", int64(pc) + extend(x&0x3ffffff, 26)*4}
	case x&^(31<<5) == 0xd63f0000: // blr
		m.called = base
	default:
		return false
	}
	return true
}

// regionsOf finds the code from which landmarks were read.
func regionsOf(t *testing.T, l landmarks, p program) []region {
	t.Helper()
	calls := func(m *machine, function string) error {
		if m.called.of != "" || p.name(uintptr(m.called.off)) != function || p.name(uintptr(m.called.off-4)) == function {
			return fmt.Errorf("%v is called, not %s", m.called, function)
		}
		return nil
	}
	// Before, the pointer to the function that is called is loaded into x1, g into x4, and
	// the stack pointer of the goroutine into x2.
	call := region{function: "runtime.asmcgocall", start: uintptr(l.call_return) - 20, end: uintptr(l.call_return)}
	call.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(call.start, uintptr(l.call_return), ""); err != nil {
			return err
		}
		g := value{of: "x4"}
		hi := value{"x4", int64(l.g_hi)}
		err := errors.Join(m.memory.expect(m.regs[sp], int32(l.call_g), g),
			m.memory.expect(m.regs[sp], int32(l.call_depth), minus(loaded(hi), value{of: "x2"})))
		if l.g_lo != l.g_hi-8 {
			err = errors.Join(err, fmt.Errorf("the bounds of the stack are at %d and %d", l.g_lo, l.g_hi))
		}
		if m.called != (value{of: "x1"}) {
			err = errors.Join(err, fmt.Errorf("%v is called", m.called))
		}
		return err
	}

	back := region{function: "runtime.cgocallback"}
	back.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(back.start, uintptr(l.back_return), ""); err != nil {
			return err
		}
		return calls(m, "runtime.cgocallbackg")
	}
	back.end = uintptr(l.back_return)
	for back.start = back.end - 12; back.check(l) != nil; back.start -= 4 {
		if back.start == back.end-24 {
			t.Fatal("where runtime.cgocallback calls cgocallbackg is not found")
		}
	}

	cross := region{function: "crosscall2", start: uintptr(l.cross_return), end: uintptr(l.cross_return)}
	for p.name(cross.start-4) == cross.function {
		cross.start -= 4
	}
	cross.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(cross.start, uintptr(l.cross_return), "runtime.load_g"); err != nil {
			return err
		}
		at := m.regs[sp]
		err := errors.Join(calls(m, "runtime.cgocallback"), m.memory.expect(at, int32(l.cross_ret), value{of: "x30"}))
		for i, off := range l.saved {
			err = errors.Join(err, m.memory.expect(at, int32(off), value{of: fmt.Sprintf("x%d", 19+i)}))
		}
		if at.of != "sp" || int64(l.cross_cfa) != -at.off {
			err = errors.Join(err, fmt.Errorf("the caller's stack pointer is not at %d: %v", l.cross_cfa, at))
		}
		return err
	}
	return []region{call, back, cross}
}
