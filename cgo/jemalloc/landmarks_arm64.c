/* Reads the landmarks of Go's runtime from its machine code, on arm64. landmarks_amd64.c
 * says why and how. All instructions have four bytes. Tested under emulation only. */
#if defined(__aarch64__)

#include "machine.h"

enum { SP = 31 };

/* The field of an instruction, n bits from the bit at. */
static uint32_t field(uint32_t code, int at, int n) { return code >> at & ((1u << n) - 1); }

static int64_t signed_field(uint32_t code, int at, int n)
{
	int64_t value = field(code, at, n);
	return value >> (n - 1) & 1 ? value - (1ll << n) : value;
}

/* bl: the address that it calls, or 0 if it is another instruction. */
static uintptr_t calls(const uint32_t *code)
{
	return *code >> 26 == 0x25 ? (uintptr_t)(code + signed_field(*code, 0, 26)) : 0;
}

/* str xR, [sp, #N] */
static bool stores(uint32_t code, uint32_t reg, int32_t *slot)
{
	*slot = (int32_t)field(code, 10, 12) * 8;
	return (code & 0xffc003ff) == (0xf9000000 | SP << 5 | reg);
}

/* asmcgocall, while it is on the thread's own stack:
 *
 *	str x4, [sp, #G]        g
 *	ldr x4, [x4, #HI]       g.stack.hi
 *	sub x4, x4, x2
 *	str x4, [sp, #DEPTH]
 *	blr x1 */
bool machine_asmcgocall(void *arg, uintptr_t start, uintptr_t end)
{
	struct landmarks *l = ((struct reading *)arg)->l;

	for (const uint32_t *code = (const uint32_t *)start; (uintptr_t)(code + 6) < end; code++) {
		if (!stores(code[0], 4, &l->call_g) || (code[1] & 0xffc003ff) != 0xf9400084 || code[2] != 0xcb020084 ||
			!stores(code[3], 4, &l->call_depth) || code[4] != 0xd63f0020)
			continue;
		l->g_hi = (int32_t)field(code[1], 10, 12) * 8;
		l->g_lo = l->g_hi - 8;
		l->call_return = (uintptr_t)(code + 5);
		l->asmcgocall = start;
		l->asmcgocall_end = end;
		return machine_slots(l);
	}
	return false;
}

/* adrp xR, PAGE; add xR, xR, #N: an address. */
static uintptr_t address_of(const uint32_t *code)
{
	uint32_t reg = field(code[0], 0, 5);
	int64_t pages;

	if ((code[0] & 0x9f000000) != 0x90000000 || (code[1] & 0xffc00000) != 0x91000000 ||
		field(code[1], 0, 5) != reg || field(code[1], 5, 5) != reg)
		return 0;
	pages = signed_field(code[0], 5, 19) * 4 + field(code[0], 29, 2);
	return ((uintptr_t)code & ~(uintptr_t)0xfff) + (uintptr_t)(pages * 4096) + field(code[1], 10, 12);
}

/* The address of cgocallbackg in a register, and, perhaps after other instructions, blr. */
bool machine_cgocallback(void *arg, uintptr_t start, uintptr_t end)
{
	struct reading *r = arg;

	for (const uint32_t *code = (const uint32_t *)start; (uintptr_t)(code + 3) < end; code++) {
		uintptr_t to = address_of(code);

		if (to == 0 || (to != r->g && to != r->g2))
			continue;
		for (const uint32_t *call = code + 2; (uintptr_t)(call + 1) < end && call < code + 6; call++)
			if (*call == (0xd63f0000 | field(code[0], 0, 5) << 5)) {
				r->l->back_return = (uintptr_t)(call + 1);
				r->cgocallback = start;
				return true;
			}
	}
	return false;
}

/* crosscall2 up to its call of cgocallback: it takes a frame and stores registers there.
 * Before that call it calls load_g, which changes no register that counts. */
bool machine_crosscall2(void *arg, uintptr_t start, uintptr_t end)
{
	enum { X19 = 19, X29 = 29, LR = 30 };
	struct reading *r = arg;
	struct machine_frame stored = {0};
	int32_t frame = 0, at[LR + 1];
	uint32_t has = 0;

	for (const uint32_t *code = (const uint32_t *)start; (uintptr_t)(code + 1) < end; code++) {
		uint32_t first = field(*code, 0, 5), second = field(*code, 10, 5);
		int32_t slot;

		if ((*code & 0xffc003ff) == (0xd1000000 | SP << 5 | SP)) { /* sub sp, sp, #N */
			if (frame != 0)
				return false;
			frame = (int32_t)field(*code, 10, 12);
		} else if ((*code & 0xffc003e0) == (0xa9000000 | SP << 5)) { /* stp xA, xB, [sp, #N] */
			slot = (int32_t)signed_field(*code, 15, 7) * 8;
			for (uint32_t i = 0; i < 2; i++, slot += 8) {
				uint32_t reg = i == 0 ? first : second;

				if (!machine_store(&stored, -frame, slot - frame))
					return false;
				if (reg >= X19 && reg <= LR && !(has & 1u << reg)) {
					at[reg] = slot;
					has |= 1u << reg;
				}
			}
		} else if ((*code & 0xffc003e0) == (0x6d000000 | SP << 5)) { /* stp dA, dB, [sp, #N] */
			slot = (int32_t)signed_field(*code, 15, 7) * 8;
			if (!machine_store(&stored, -frame, slot - frame) || !machine_store(&stored, -frame, slot + 8 - frame))
				return false;
		} else if (stores(*code, first, &slot) && first < X19) {
			if (!machine_store(&stored, -frame, slot - frame))
				return false;
		} else if (calls(code) == r->cgocallback) {
			for (uint32_t i = 0; i < GOWALK_SAVED; i++) {
				if (!(has & 1u << (X19 + i)))
					return false;
				r->l->saved[i] = at[X19 + i];
			}
			r->l->cross_return = (uintptr_t)(code + 1);
			r->l->cross_ret = at[LR];
			r->l->cross_cfa = frame;
			return (has & 1u << LR) != 0;
		} else if (!goimage_begins(r->image, calls(code), "runtime.load_g")) {
			return false;
		}
	}
	return false;
}

bool machine_call_frame(const struct goimage *image, struct landmarks *l)
{
	(void)image;
	/* A frame has the return address at its lower end, and the caller's frame pointer below it. */
	l->has_record = true;
	l->call_record = -8;
	return true;
}

bool machine_back_frame(const struct goimage *image, struct landmarks *l)
{
	int32_t frame = goimage_frame_size(image, l->back_return - 1);

	l->back_sp = 8 + frame;
	return frame >= 16;
}

bool landmarks_calls_asmcgocall(const struct landmarks *l, uintptr_t ret)
{
	return calls((const uint32_t *)ret - 1) == l->asmcgocall;
}

#endif
