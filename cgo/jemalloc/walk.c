/* C and Go frames in one stack.
 *
 * When a goroutine calls C, the C code runs on another stack: that of the
 * operating system thread. An unwinder of C stops at runtime.asmcgocall, because
 * Go code has no .eh_frame. The rest of the stack is on the goroutine's stack:
 *
 *   system stack                             goroutine's stack
 *   malloc                               .-> runtime.cgocall
 *   C function                           |   Go function that calls C
 *   cgo's wrapper of it                  |   ...
 *   runtime.asmcgocall {g, depth} -------'   Go function that C called
 *   runtime.cgocallback <------------------- runtime.cgocallbackg
 *   crosscall2 {registers of its caller}
 *   C function that called Go            .-> runtime.cgocall
 *   runtime.asmcgocall {g, depth} -------'   runtime.main or runtime.goexit
 *
 * So the walk alternates between the two stacks until one of them ends:
 *
 * 1. _Unwind_Backtrace unwinds C code until it meets the return address in
 *    asmcgocall. It reads .eh_frame, so it needs no frame pointers.
 * 2. asmcgocall keeps g and the depth at which it left the goroutine's stack
 *    (not the stack pointer, because the stack may move during a callback).
 *    The goroutine's frame record is at g.stack.hi - depth. Go code has frame
 *    pointers: the chain of frame records gives the return addresses.
 * 3. If C called Go, the chain leaves the goroutine's stack and continues at
 *    cgocallback's frame record on the system stack. Above it, crosscall2 has
 *    saved all callee-saved registers of its C caller. The unwinding of C
 *    restarts from them, see resume_*.S. Then step 1 follows again.
 *
 * Step 2 cannot use the frame pointer register: after a callback that made the
 * stack grow, it points into the old stack, which was freed.
 *
 * C code that was linked by Go's own linker, or written in assembler, may have no
 * .eh_frame. There the walk searches the rest of the system stack for the return address
 * in asmcgocall, and takes it if what lies above it is a crossing. C frames in between are
 * missing then.
 *
 * Why plain loads are safe: while a goroutine is in a C call, the runtime does not
 * move or shrink its stack, as in a system call. During a callback the runtime may
 * move it, and depth is still right then. The landmarks are those of the machine code that
 * runs (landmarks_*.c). Each crossing is checked before it is believed: the frame to which
 * depth points must return to an instruction behind a call of asmcgocall. The walk then
 * follows the chain only while the addresses rise inside [lo, hi), and goes back to the
 * system stack only at the known return address. An address that was only found by the
 * search is loaded after the kernel has said that it can be read. */
#define _GNU_SOURCE
#include "walk.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The registers from which resume_*.S restarts. resume_*.S has these offsets too. */
struct registers {
	uintptr_t saved[GOWALK_SAVED];
	uintptr_t ip, sp;
};

#if defined(__x86_64__) || defined(__aarch64__)

/* __real__Unwind_Backtrace(fn, arg), as if it were called by the code at registers->ip. */
_Unwind_Reason_Code gowalk_resume(const struct registers *registers, _Unwind_Trace_Fn fn, void *arg);

#else /* never called, because there are no landmarks */
static _Unwind_Reason_Code gowalk_resume(const struct registers *registers, _Unwind_Trace_Fn fn, void *arg)
{
	(void)registers, (void)fn, (void)arg;
	return _URC_END_OF_STACK;
}
#endif

static inline uintptr_t load(uintptr_t address) { return *(const uintptr_t *)address; }

static inline void push(struct gowalk *w, uintptr_t pc) { w->pcs[w->len++] = (void *)pc; }

/* Called for each frame of C code. */
_Unwind_Reason_Code gowalk_frame(struct _Unwind_Context *context, void *arg)
{
	struct gowalk *w = arg;
	uintptr_t pc;
	int interrupted = 0;

	if (w->skip) { /* the function that called the unwinder */
		w->skip = false;
		return _URC_NO_REASON;
	}
	if (w->len == w->max)
		return _URC_END_OF_STACK;
	pc = _Unwind_GetIPInfo(context, &interrupted);
	if (pc == 0)
		return _URC_END_OF_STACK;
	w->ip = pc;
	w->cfa = _Unwind_GetCFA(context);
	if (w->inner) {
		w->undecided = false;
		w->inner = w->inside(w, context, &pc);
		if (w->inner && !w->undecided)
			w->len = 0;
	}
	/* Readers of the stack subtract one from each return address to get an address in the
	 * call. If a signal has interrupted the function, there is no call, and pc is the
	 * interrupted instruction itself. So one is added. */
	push(w, interrupted ? pc + 1 : pc);
	return w->landmarks != NULL && w->ip == w->landmarks->call_return ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* Whether the word at an address can be read. The kernel refuses an unknown operation only
 * after it has read the set of signals. */
static bool readable(uintptr_t address)
{
	const long unknown_operation = -1, none = 0, size = 8;
	int before = errno;
	bool can;

	if (address == 0 || address % sizeof address != 0)
		return false;
	can = syscall(SYS_rt_sigprocmask, unknown_operation, address, none, size) == 0 || errno != EFAULT;
	errno = before;
	return can;
}

struct crossing {
	uintptr_t lo, hi;   /* the goroutine's stack */
	uintptr_t record;   /* asmcgocall's frame record there, or 0 */
	uintptr_t returns;  /* where its return address is */
};

/* Reads the crossing whose slots are at cfa, the stack pointer of asmcgocall's call. */
static enum gowalk_end read_crossing(const struct gowalk *w, uintptr_t cfa, bool certain, struct crossing *c)
{
	const struct landmarks *l = w->landmarks;
	uintptr_t g = load(cfa + l->call_g), depth = load(cfa + l->call_depth), ret;

	if (g == 0 || g % sizeof g != 0 || (!certain && (!readable(g + l->g_lo) || !readable(g + l->g_hi))))
		return GOWALK_SLOTS;
	c->lo = load(g + l->g_lo);
	c->hi = load(g + l->g_hi);
	if (c->lo >= c->hi || depth >= c->hi - c->lo || depth < 2 * sizeof depth || depth % sizeof depth != 0)
		return GOWALK_SLOTS;
	c->record = l->has_record ? c->hi - depth + l->call_record : 0;
	c->returns = l->has_record ? c->record + sizeof depth : c->hi - depth;
	if (!certain && !readable(c->returns))
		return GOWALK_SLOTS;
	ret = load(c->returns);
	if (!goimage_has(w->image, ret - 8) || !landmarks_calls_asmcgocall(l, ret))
		return GOWALK_CALLER;
	return GOWALK_WHOLE;
}

#if defined(__x86_64__)
static uintptr_t thread_pointer(void)
{
	uintptr_t fs;

	__asm__("movq %%fs:0, %0" : "=r"(fs));
	return fs;
}
#else
static uintptr_t thread_pointer(void) { return (uintptr_t)__builtin_thread_pointer(); }
#endif

enum { MAX_SCAN = 1 << 16 }; /* how far the search goes, in bytes */

/* The search through C code without .eh_frame. It goes on where the last frame began, up to
 * the end of the system stack as the thread's g has it (g0, while C runs). */
static bool scan(struct gowalk *w)
{
	const struct landmarks *l = w->landmarks;
	uintptr_t g0, end, slots;
	struct crossing c;

	if (l->tls_g == 0 || w->len == w->max)
		return false;
	g0 = load(thread_pointer() + l->tls_g);
	if (g0 == 0) /* C's own thread, on which no Go runs */
		return false;
	end = load(g0 + l->g_hi);
	if (w->cfa < load(g0 + l->g_lo) || w->cfa >= end)
		return false;
	if (end - w->cfa > MAX_SCAN)
		end = w->cfa + MAX_SCAN;
	/* Above the return address are asmcgocall's two slots. */
	slots = (uintptr_t)(l->call_g > l->call_depth ? l->call_g : l->call_depth) + 2 * sizeof slots;
	for (uintptr_t at = (w->cfa + 7) & ~(uintptr_t)7; at + slots <= end; at += sizeof at) {
		if (load(at) != l->call_return || read_crossing(w, at + sizeof at, false, &c) != GOWALK_WHOLE)
			continue;
		push(w, l->call_return);
		w->ip = l->call_return;
		w->cfa = at + sizeof at;
		w->scans++;
		return true;
	}
	return false;
}

/* Follows a chain of frame records on the goroutine's stack, and sets *record as walk_go
 * does. Code that is not of the Go program may be called by Go on that stack, and call Go:
 * plugins, and code that the program itself has made. Its frames are believed if the chain
 * ends as it must. */
static enum gowalk_end walk_chain(struct gowalk *w, const struct crossing *c, uintptr_t fp, uintptr_t *record)
{
	const struct landmarks *l = w->landmarks;
	uintptr_t next, pc = 0;
	uint32_t known = w->len; /* up to there the frames are the program's */
	enum gowalk_end end = GOWALK_WHOLE;

	while (end == GOWALK_WHOLE && fp >= c->lo && fp < c->hi - sizeof fp && fp % sizeof fp == 0) {
		if (w->len == w->max)
			return GOWALK_FULL;
		next = load(fp);
		pc = load(fp + sizeof fp);
		push(w, pc);
		if (goimage_has(w->image, pc))
			known = w->len;
		if (next == 0 && known == w->len)
			return GOWALK_WHOLE;
		if (next == 0)
			end = GOWALK_FRAME;
		else if (next <= fp && next >= c->lo)
			end = GOWALK_ORDER;
		fp = next;
	}
	/* The chain may leave the goroutine's stack only for cgocallback's frame. That is on
	 * the system stack, further out. */
	if (end == GOWALK_WHOLE && fp > w->cfa && fp % sizeof fp == 0 && pc == l->back_return && pc != 0) {
		*record = fp;
		return GOWALK_WHOLE;
	}
	if (end == GOWALK_WHOLE)
		end = known == w->len ? GOWALK_BACK : GOWALK_FRAME;
	w->len = known;
	return end;
}

/* Step 2, from asmcgocall's slots at w->cfa. Returns GOWALK_WHOLE with the address of
 * cgocallback's frame record, or with 0 if the goroutine's stack, and so the whole, ends. */
static enum gowalk_end walk_go(struct gowalk *w, uintptr_t *record)
{
	enum gowalk_end end;
	struct crossing c;
	uintptr_t caller;
	int32_t size;

	*record = 0;
	if ((end = read_crossing(w, w->cfa, true, &c)) != GOWALK_WHOLE)
		return end;
	w->crossings++;
	if (c.record != 0)
		return walk_chain(w, &c, c.record, record);
	/* The first frame record is that of asmcgocall's caller, at the end of its frame. */
	if (w->len == w->max)
		return GOWALK_FULL;
	caller = load(c.returns);
	push(w, caller);
	size = goimage_frame_size(w->image, caller - 1);
	return size < (int32_t)sizeof caller ? GOWALK_FRAME : walk_chain(w, &c, c.returns + size, record);
}

/* Step 3, from cgocallback's frame record. */
static enum gowalk_end walk_back(struct gowalk *w, uintptr_t record, struct registers *r)
{
	const struct landmarks *l = w->landmarks;
	uintptr_t sp = record + l->back_sp;

	if (load(record + sizeof record) != l->cross_return)
		return GOWALK_BACK;
	if (w->len == w->max)
		return GOWALK_FULL;
	push(w, l->cross_return);
	for (int i = 0; i < GOWALK_SAVED; i++)
		r->saved[i] = load(sp + l->saved[i]);
	r->ip = load(sp + l->cross_ret);
	r->sp = sp + l->cross_cfa;
	w->callbacks++;
	return GOWALK_WHOLE;
}

/* How the unwinding of C has ended that did not come to a crossing. */
static enum gowalk_end end_of_c(const struct gowalk *w)
{
	if (w->len == w->max)
		return GOWALK_FULL;
	/* Go's own linker puts the program's C functions among those of Go. They have no table of
	 * frame sizes. */
	if (w->image != NULL && goimage_frame_size(w->image, w->ip - 1) >= 0)
		return w->landmarks != NULL ? GOWALK_RUNTIME : GOWALK_NO_GO;
	return _Unwind_FindEnclosingFunction((void *)(w->ip - 1)) != NULL ? GOWALK_WHOLE : GOWALK_BLIND;
}

/* The walk after its first step 1. */
enum gowalk_end gowalk_rest(struct gowalk *w)
{
	enum gowalk_end end;
	struct registers r;

	for (;;) {
		uintptr_t record;

		if (w->landmarks == NULL || w->ip != w->landmarks->call_return) {
			end = end_of_c(w);
			if (end != GOWALK_BLIND || w->landmarks == NULL || !scan(w))
				return end;
		}
		end = walk_go(w, &record);
		if (end != GOWALK_WHOLE || record == 0)
			return end;
		end = walk_back(w, record, &r);
		if (end != GOWALK_WHOLE || w->len == w->max)
			return end != GOWALK_WHOLE ? end : GOWALK_FULL;
		w->ip = 0;
		w->skip = true;
		gowalk_resume(&r, gowalk_frame, w);
	}
}
