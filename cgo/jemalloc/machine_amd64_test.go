package jemalloc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r12 = 12
	r13 = 13
	r14 = 14
	r15 = 15
)

// machine executes instructions that move values between registers and the stack.
type machine struct {
	program program
	regs    [16]value
	memory  memory
	called  value // the address that the last instruction called
}

func newMachine(p program) *machine {
	m := &machine{program: p, memory: make(memory)}
	for i, name := range []string{"rax", "rcx", "rdx", "rbx", "sp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"} {
		m.regs[i].of = name
	}
	m.memory[0] = value{of: "return"}
	return m
}

var errUnknown = errors.New("an instruction that this machine does not know")

// run executes the code from start to end. A call has to be its last instruction.
func (m *machine) run(start, end uintptr) error {
	for pc := start; pc != end; {
		if m.called.of != "" {
			return errors.New("a call in the middle")
		}
		n, err := m.step(pc)
		if err != nil {
			return fmt.Errorf("at +%d: %w", pc-start, err)
		}
		if pc += n; pc > end {
			return errors.New("the end is in the middle of an instruction")
		}
	}
	return nil
}

// operand is the register or memory that a ModRM byte means.
type operand struct {
	reg     int // -1: memory
	address value
}

// decode reads ModRM and what follows it. next is where the instruction would end if
// nothing followed that.
func (m *machine) decode(code []byte, pc uintptr, rex byte) (reg int, o operand, n int, err error) {
	modrm := code[0]
	mod, rm := modrm>>6, int(modrm&7)
	reg = int(modrm>>3&7) | int(rex&4)<<1
	n = 1
	if mod == 3 {
		return reg, operand{reg: rm | int(rex&1)<<3}, n, nil
	}
	if mod == 0 && rm == rbp { // relative to the next instruction
		n = 5
		next := int64(pc) + int64(n)
		return reg, operand{-1, value{"", next + int64(int32(binary.LittleEndian.Uint32(code[1:])))}}, n, nil
	}
	base := value{}
	if rm == rsp {
		sib := code[1]
		n = 2
		if sib>>3&7 != rsp || rex&2 != 0 { // an index
			return 0, o, 0, errUnknown
		}
		rm = int(sib & 7)
		if rm != rbp || mod != 0 {
			base = m.regs[rm|int(rex&1)<<3]
		} else {
			mod = 2 // an address alone
		}
	} else {
		base = m.regs[rm|int(rex&1)<<3]
	}
	switch mod {
	case 1:
		base.off += int64(int8(code[n]))
		n++
	case 2:
		base.off += int64(int32(binary.LittleEndian.Uint32(code[n:])))
		n += 4
	}
	return reg, operand{-1, base}, n, nil
}

func (m *machine) step(pc uintptr) (uintptr, error) {
	code := m.program.at(pc)
	n := 0
	fs := code[n] == 0x64
	if fs {
		n++
	}
	var rex byte
	if code[n]&0xf0 == 0x40 {
		rex = code[n]
		n++
	}
	op := code[n]
	n++
	switch wide := rex&8 != 0; {
	case op&^7 == 0x50 && !fs: // push
		v := m.regs[int(op&7)|int(rex&1)<<3]
		m.regs[rsp].off -= 8
		m.memory.store(m.regs[rsp].off, v)
		return uintptr(n), nil
	case op == 0xe8 && rex == 0 && !fs: // call
		n += 4
		m.called = value{"", int64(pc) + int64(n) + int64(int32(binary.LittleEndian.Uint32(code[n-4:])))}
		return uintptr(n), nil
	case op == 0xff && !fs && code[n]>>6 == 3 && code[n]>>3&7 == 2: // call *register
		m.called = m.regs[int(code[n]&7)|int(rex&1)<<3]
		return uintptr(n + 1), nil
	case !wide:
		return 0, errUnknown
	case op != 0x89 && op != 0x8b && op != 0x8d && op != 0x29 && op != 0x83 && op != 0xc7:
		return 0, errUnknown
	}
	reg, o, len, err := m.decode(code[n:], pc+uintptr(n), rex)
	if err != nil || fs && (op != 0x8b || o.reg >= 0) {
		return 0, errUnknown
	}
	n += len
	switch {
	case op == 0x89 && o.reg >= 0:
		m.regs[o.reg] = m.regs[reg]
	case op == 0x89 && o.address.of == "sp":
		m.memory.store(o.address.off, m.regs[reg])
	case op == 0x8b && o.reg >= 0:
		m.regs[reg] = m.regs[o.reg]
	case op == 0x8b && fs:
		m.regs[reg] = value{"tls" + o.address.of, o.address.off}
	case op == 0x8b && o.address.of == "sp":
		m.regs[reg] = m.memory[o.address.off]
	case op == 0x8b:
		m.regs[reg] = loaded(o.address)
	case op == 0x8d && o.reg < 0:
		m.regs[reg] = o.address
	case op == 0x29 && o.reg >= 0:
		m.regs[o.reg] = minus(m.regs[o.reg], m.regs[reg])
	case op == 0x83 && o.reg >= 0 && reg&7 == 5: // sub $N
		m.regs[o.reg].off -= int64(int8(code[n]))
		n++
	case op == 0xc7 && o.reg >= 0 && reg&7 == 0: // mov $N
		m.regs[o.reg] = value{"", int64(int32(binary.LittleEndian.Uint32(code[n:])))}
		n += 4
	default:
		return 0, errUnknown
	}
	return uintptr(n), nil
}

// regionsOf finds the code from which landmarks were read.
func regionsOf(t *testing.T, l landmarks, p program) []region {
	t.Helper()
	calls := func(m *machine, function string) error {
		if m.called.of != "" || p.name(uintptr(m.called.off)) != function || p.name(uintptr(m.called.off-1)) == function {
			return fmt.Errorf("%v is called, not %s", m.called, function)
		}
		return nil
	}
	// Before, the pointer to the function that is called is loaded into rax, g into rdi, and
	// the stack pointer of the goroutine into rdx.
	call := region{function: "runtime.asmcgocall", end: uintptr(l.call_return)}
	call.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(call.start, uintptr(l.call_return)); err != nil {
			return err
		}
		g, sp := value{of: "rdi"}, m.regs[rsp]
		hi := g
		hi.off += int64(l.g_hi)
		err := errors.Join(m.memory.expect(sp, int32(l.call_g), g),
			m.memory.expect(sp, int32(l.call_depth), minus(loaded(hi), value{of: "rdx"})))
		if l.g_lo != l.g_hi-8 {
			err = errors.Join(err, fmt.Errorf("the bounds of the stack are at %d and %d", l.g_lo, l.g_hi))
		}
		if m.called != (value{of: "rax"}) {
			err = errors.Join(err, calls(m, "runtime.asmcgocall_landingpad"))
		}
		return err
	}
	for call.start = call.end - 1; call.check(l) != nil; call.start-- {
		if call.start == uintptr(l.asmcgocall) {
			t.Fatal("where runtime.asmcgocall stores g and the depth is not found")
		}
	}

	tls := region{function: "runtime.asmcgocall", unread: func(l landmarks) bool { return l.tls_g == 0 }}
	tls.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(tls.start, tls.end); err != nil {
			return err
		}
		if want := (value{"tls", int64(l.tls_g)}); m.regs[rdi] != want {
			return fmt.Errorf("g is %v, not %v", m.regs[rdi], want)
		}
		return nil
	}
	for tls.start = uintptr(l.asmcgocall); ; tls.start++ {
		if tls.start == call.start {
			t.Fatal("where runtime.asmcgocall loads g is not found")
		}
		if tls.end = tls.start + 9; tls.check(l) == nil { // movq %fs:N, %rdi
			break
		}
		if tls.end = tls.start + 11; tls.check(l) == nil { // movq $N, %rcx; movq %fs:(%rcx), %rdi
			break
		}
	}

	back := region{function: "runtime.cgocallback", start: uintptr(l.back_return) - 9, end: uintptr(l.back_return)}
	back.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(back.start, uintptr(l.back_return)); err != nil {
			return err
		}
		return calls(m, "runtime.cgocallbackg")
	}

	cross := region{function: "crosscall2", start: uintptr(l.cross_return), end: uintptr(l.cross_return)}
	for p.name(cross.start-1) == cross.function {
		cross.start--
	}
	cross.check = func(l landmarks) error {
		m := newMachine(p)
		if err := m.run(cross.start, uintptr(l.cross_return)); err != nil {
			return err
		}
		sp := m.regs[rsp]
		err := errors.Join(calls(m, "runtime.cgocallback"), m.memory.expect(sp, int32(l.cross_ret), value{of: "return"}))
		for i, reg := range []int{rbx, rbp, r12, r13, r14, r15} {
			err = errors.Join(err, m.memory.expect(sp, int32(l.saved[i]), newMachine(p).regs[reg]))
		}
		if int64(l.cross_cfa) != 8-sp.off {
			err = errors.Join(err, fmt.Errorf("the caller's stack pointer is not at %d but %d", l.cross_cfa, 8-sp.off))
		}
		return err
	}
	return []region{call, tls, back, cross}
}
