/* Reads the landmarks of Go's runtime from its machine code, on amd64.
 *
 * Where the runtime keeps g and the depth of the goroutine's stack while C runs differs
 * between Go versions: at 48 and 40 bytes from the stack pointer up to Go 1.21, at 8 and 0
 * from 1.22 on. No table has these numbers. But the instructions that store them have, and
 * they are few: asmcgocall, cgocallback and crosscall2 are written in assembler (package
 * runtime, asm_amd64.s; package runtime/cgo, asm_amd64.s). So these functions are found by
 * their names in Go's function table, and their instructions are compared with those that
 * are known. An instruction that is not known there is an error, and the walk then keeps
 * to C. */
#if defined(__x86_64__)

#include <string.h>

#include "machine.h"

/* The address to which the last four bytes of an instruction point. */
static uintptr_t target(uintptr_t after)
{
	int32_t distance;

	memcpy(&distance, (const void *)(after - sizeof distance), sizeof distance);
	return after + distance;
}

static bool same(const uint8_t *code, const char *bytes, size_t len) { return memcmp(code, bytes, len) == 0; }

/* movq %rdi, N(%rsp). Returns its length, or 0 if it is another instruction. */
static size_t stores_rdi(const uint8_t *code, int32_t *slot)
{
	if (same(code, "\x48\x89\x7c\x24", 4)) {
		*slot = (int8_t)code[4];
		return 5;
	}
	*slot = 0;
	return same(code, "\x48\x89\x3c\x24", 4) ? 4 : 0;
}

/* asmcgocall, while it is on the thread's own stack:
 *
 *	movq %rdi, G(%rsp)      g
 *	movq HI(%rdi), %rdi     g.stack.hi
 *	subq %rdx, %rdi
 *	movq %rdi, DEPTH(%rsp)
 *	call *%rax              or a call of asmcgocall_landingpad, which jumps there
 *
 * Up to Go 1.21 two instructions that prepare the argument stand before the call. */
static bool read_call(const struct goimage *image, const uint8_t *code, const uint8_t *end, struct landmarks *l)
{
	size_t n;

	if ((n = stores_rdi(code, &l->call_g)) == 0)
		return false;
	code += n;
	if (!same(code, "\x48\x8b\x7f", 3) || !same(code + 4, "\x48\x29\xd7", 3))
		return false;
	l->g_hi = (int8_t)code[3];
	l->g_lo = l->g_hi - 8;
	code += 7;
	if ((n = stores_rdi(code, &l->call_depth)) == 0)
		return false;
	code += n;
	if (same(code, "\x48\x89\xdf\x48\x89\xd9", 6)) /* movq %rbx, %rdi; movq %rbx, %rcx */
		code += 6;
	if (same(code, "\xff\xd0", 2))
		l->call_return = (uintptr_t)code + 2;
	else if (*code == 0xe8 && goimage_begins(image, target((uintptr_t)code + 5), "runtime.asmcgocall_landingpad"))
		l->call_return = (uintptr_t)code + 5;
	else
		return false;
	return machine_slots(l) && l->call_return < (uintptr_t)end;
}

/* How this thread's g is loaded, by the first instructions of asmcgocall. */
static void read_tls(const uint8_t *code, const uint8_t *end, struct landmarks *l)
{
	for (; code + 16 < end; code++) {
		int32_t distance;

		if (same(code, "\x64\x48\x8b\x3c\x25", 5)) { /* movq %fs:N, %rdi */
			memcpy(&distance, code + 5, sizeof distance);
			l->tls_g = distance;
			return;
		}
		if (!same(code + 7, "\x64\x48\x8b\x39", 4)) /* movq %fs:(%rcx), %rdi */
			continue;
		if (same(code, "\x48\x8b\x0d", 3)) { /* movq N(%rip), %rcx */
			memcpy(&l->tls_g, (const void *)target((uintptr_t)code + 7), sizeof l->tls_g);
			return;
		}
		if (same(code, "\x48\xc7\xc1", 3)) { /* movq $N, %rcx */
			memcpy(&distance, code + 3, sizeof distance);
			l->tls_g = distance;
			return;
		}
	}
}

bool machine_asmcgocall(void *arg, uintptr_t start, uintptr_t end)
{
	struct reading *r = arg;
	const uint8_t *e = (const uint8_t *)end;

	for (const uint8_t *code = (const uint8_t *)start; code + 32 < e; code++) {
		if (!read_call(r->image, code, e, r->l))
			continue;
		r->l->asmcgocall = start;
		r->l->asmcgocall_end = end;
		read_tls((const uint8_t *)start, code, r->l);
		return true;
	}
	return false; /* the wrapper for Go's other calling convention */
}

/* leaq cgocallbackg(%rip), %rax or movq $cgocallbackg, %rax; call *%rax */
bool machine_cgocallback(void *arg, uintptr_t start, uintptr_t end)
{
	struct reading *r = arg;

	for (const uint8_t *code = (const uint8_t *)start; (uintptr_t)code + 9 < end; code++) {
		uintptr_t to = 0;
		int32_t immediate;

		if (same(code, "\x48\x8d\x05", 3)) {
			to = target((uintptr_t)code + 7);
		} else if (same(code, "\x48\xc7\xc0", 3)) {
			memcpy(&immediate, code + 3, sizeof immediate);
			to = immediate;
		}
		if (to == 0 || (to != r->g && to != r->g2) || !same(code + 7, "\xff\xd0", 2))
			continue;
		r->l->back_return = (uintptr_t)code + 9;
		r->cgocallback = start;
		return true;
	}
	return false;
}

enum { RBX, RBP, R12, R13, R14, R15 }; /* as in saved */

/* The instruction movq REGISTER, N(%rsp). Returns the register, or -1 if it is another
 * instruction or register. */
static int stores_saved(const uint8_t *code, int32_t *slot, size_t *len)
{
	static const struct {
		uint8_t rex, modrm;
	} by[GOWALK_SAVED] = {
		[RBX] = {0x48, 0x1c}, [RBP] = {0x48, 0x2c}, [R12] = {0x4c, 0x24},
		[R13] = {0x4c, 0x2c}, [R14] = {0x4c, 0x34}, [R15] = {0x4c, 0x3c},
	};

	for (int i = 0; i < GOWALK_SAVED; i++) {
		if (code[0] != by[i].rex || code[1] != 0x89 || code[3] != 0x24)
			continue;
		if (code[2] == by[i].modrm) {
			*slot = 0, *len = 4;
			return i;
		}
		if (code[2] == (by[i].modrm | 0x40)) { /* a distance of one byte follows */
			*slot = (int8_t)code[4], *len = 5;
			return i;
		}
	}
	return -1;
}

/* crosscall2 up to its call of cgocallback. It only moves the stack pointer and stores
 * registers, so its code is followed instruction by instruction: sp is the stack pointer's
 * distance from where it was at the function's start, where the return address is. */
bool machine_crosscall2(void *arg, uintptr_t start, uintptr_t end)
{
	struct reading *r = arg;
	struct machine_frame frame = {0};
	int32_t sp = 0, at[GOWALK_SAVED], slot;
	bool has[GOWALK_SAVED] = {false}, rbp_changed = false;
	const uint8_t *code = (const uint8_t *)start;

	while ((uintptr_t)code + 9 < end) {
		size_t len;
		int i;

		if (*code == 0xe8) {
			if (target((uintptr_t)code + 5) != r->cgocallback)
				return false;
			break;
		}
		if (*code == 0x55) { /* pushq %rbp */
			sp -= 8;
			if (!machine_store(&frame, sp, sp))
				return false;
			if (!rbp_changed && !has[RBP])
				at[RBP] = sp, has[RBP] = true;
			code += 1;
		} else if (same(code, "\x48\x89\xe5", 3)) { /* movq %rsp, %rbp */
			rbp_changed = true;
			code += 3;
		} else if (same(code, "\x48\x83\xec", 3)) { /* subq $N, %rsp */
			sp -= (int8_t)code[3];
			code += 4;
		} else if (same(code, "\x48\x8d\x64\x24", 4)) { /* leaq N(%rsp), %rsp */
			sp += (int8_t)code[4];
			code += 5;
		} else if (same(code, "\x48\x8d\x6c\x24", 4)) { /* leaq N(%rsp), %rbp */
			rbp_changed = true;
			code += 5;
		} else if ((i = stores_saved(code, &slot, &len)) >= 0) {
			if (!machine_store(&frame, sp, sp + slot))
				return false;
			if (!has[i] && (i != RBP || !rbp_changed))
				at[i] = sp + slot, has[i] = true;
			code += len;
		} else if (same(code, "\x48\x89\x3c\x24", 4)) { /* movq %rdi, (%rsp) */
			if (!machine_store(&frame, sp, sp))
				return false;
			code += 4;
		} else if (same(code, "\x48\x89\x74\x24", 4) || same(code, "\x48\x89\x4c\x24", 4)) { /* %rsi, %rcx */
			if (!machine_store(&frame, sp, sp + (int8_t)code[4]))
				return false;
			code += 5;
		} else {
			return false;
		}
	}
	if ((uintptr_t)code + 9 >= end)
		return false;
	for (int i = 0; i < GOWALK_SAVED; i++) {
		if (!has[i] || at[i] < sp)
			return false;
		r->l->saved[i] = at[i] - sp;
	}
	r->l->cross_return = (uintptr_t)code + 5;
	r->l->cross_ret = -sp;
	r->l->cross_cfa = -sp + 8;
	return true;
}

bool machine_call_frame(const struct goimage *image, struct landmarks *l)
{
	/* The frame is either the caller's frame pointer, which with the return address is a frame
	 * record, or nothing. */
	int32_t frame = goimage_frame_size(image, l->call_return - 1);

	l->has_record = frame == 8;
	return frame == 0 || frame == 8;
}

bool machine_back_frame(const struct goimage *image, struct landmarks *l)
{
	(void)image;
	l->back_sp = 16; /* cgocallback's frame record and its return address are between */
	return true;
}

bool landmarks_calls_asmcgocall(const struct landmarks *l, uintptr_t ret)
{
	return *(const uint8_t *)(ret - 5) == 0xe8 && target(ret) == l->asmcgocall;
}

#endif
