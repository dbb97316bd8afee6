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
 * Why plain loads are safe: while a goroutine is in a C call, the runtime does not
 * move or shrink its stack, as in a system call. During a callback the runtime may
 * move it, and depth is still right then. The walk follows the chain of frame records
 * only while the addresses rise inside [lo, hi), and crosses between the stacks only at
 * a known return address. The walk cannot detect whether the layout is that of this Go
 * version. So the self-test at start checks it (unwind.go): the same walk, with every
 * load made by the kernel, must return the stack that runtime.Callers returns. */
#define _GNU_SOURCE
#include "stitch.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "libraries.h"
#include "shim.h"

#if defined(__x86_64__)

static const struct gojemalloc_layout go_layout = {
	.call_depth = 0,
	.call_g = 8,
	.call_frame = 0,
	.g_lo = 0,
	.g_hi = 8,
	.back_sp = 16,
	.saved = {24, 72, 32, 40, 48, 56},
	.ret = 80,
	.cfa = 88,
};

#elif defined(__aarch64__)

/* Tested under emulation only. */
static const struct gojemalloc_layout go_layout = {
	.call_g = 0,
	.call_depth = 8,
	.call_frame = -8,
	.g_lo = 0,
	.g_hi = 8,
	.back_sp = 56,
	.saved = {32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 176},
	.ret = 184,
	.cfa = 192,
};

#else
static const struct gojemalloc_layout go_layout;
#endif

bool gojemalloc_layout_default(struct gojemalloc_layout *layout)
{
	*layout = go_layout;
	return GOJEMALLOC_SAVED != 0;
}

/* The walk is compiled twice: once for the hook, with plain loads, and once for the
 * learner of the self-test. */
#define INLINE static inline __attribute__((always_inline))

/* The registers from which resume_*.S restarts. resume_*.S has these offsets too. */
struct registers {
	uintptr_t saved[GOJEMALLOC_SAVED + (GOJEMALLOC_SAVED == 0)];
	uintptr_t ip, sp;
};

#if defined(__x86_64__) || defined(__aarch64__)

/* __real__Unwind_Backtrace(fn, arg), as if it were called by the code at registers->ip. */
_Unwind_Reason_Code gojemalloc_resume(const struct registers *registers, _Unwind_Trace_Fn fn, void *arg);

/* Calls crosscall2(fn, arg, 0, 0), with marked->saved in the callee-saved registers, and
 * writes the stack pointer and the return address of that call to *marked. */
void gojemalloc_marked_call(void (*fn)(void *), void *arg, struct registers *marked);

#else /* never called, because there is no layout */
static _Unwind_Reason_Code gojemalloc_resume(const struct registers *registers, _Unwind_Trace_Fn fn, void *arg)
{
	(void)registers, (void)fn, (void)arg;
	return _URC_END_OF_STACK;
}
static void gojemalloc_marked_call(void (*fn)(void *), void *arg, struct registers *marked)
{
	(void)fn, (void)arg, (void)marked;
}
#endif

/* Exported by callback.go. */
extern void gojemallocProbe(void);

/* The registers that crosscall2 must have saved in the self-test. */
static struct registers marked;

/* Set once, before the hook is installed. */
static struct gojemalloc_layout layout;
static struct gojemalloc_landmarks landmarks;
static uintptr_t allocator_start, allocator_end; /* jemalloc's code, if it is a shared library */

struct walk {
	void **pcs;
	uint32_t len, max;
	bool skip;         /* skip the next frame: the function that called the unwinder */
	bool inside;       /* the walk is still in jemalloc's frames */
	uintptr_t stop;    /* do not unwind past this return address */
	uintptr_t ip, cfa; /* of the last frame */
};

/* A walk of the self-test. It tolerates a wrong layout and records what is wrong. */
struct learner {
	struct walk walk; /* the first member, because frame() casts its argument to it */
	uintptr_t fp;     /* frame pointer of the last frame, if it is known */
	uint32_t crossings;
	const char *broken; /* what does not fit the layout, or NULL */
};

static inline bool in_allocator(uintptr_t pc)
{
	return pc - allocator_start < allocator_end - allocator_start;
}

/* The functions by which a program calls jemalloc. If jemalloc is linked statically, the
 * bounds of its code are not known. But the unwinder returns the start of each frame's
 * function, even in a stripped program, and the walk compares it with these functions.
 * malloc calls malloc_default, which has jemalloc's private prefix. If malloc jumps there
 * (a tail call), malloc leaves no frame, and the walk adds one. realloc and rallocx call a
 * function that has no name outside of jemalloc, so build/native.sh compiles them without
 * tail calls.
 *
 * They are declared as functions: if malloc were declared as a variable, debuggers could
 * not call functions in this process. */
#define ENTRIES(X)                                                             \
	X(malloc) X(je_malloc_default) X(calloc) X(realloc) X(aligned_alloc)   \
	X(posix_memalign) X(memalign) X(valloc) X(mallocx) X(rallocx) X(xallocx)

#define DECLARE(name) extern void gojemalloc_##name(void) __asm__(#name) __attribute__((weak));
ENTRIES(DECLARE)
#undef DECLARE

/* The function by which jemalloc was called is among the first MAX_INNER frames. Those
 * before it are prof_backtrace_impl, prof_tctx_create... */
enum { MAX_INNER = 8 };

static inline bool is_entry(uintptr_t function)
{
#define IS(name) || function == (uintptr_t)gojemalloc_##name
	return false ENTRIES(IS);
#undef IS
}

static inline void push(struct walk *w, uintptr_t pc) { w->pcs[w->len++] = (void *)pc; }

/* Of jemalloc's own frames only the outermost is kept: malloc, calloc... Removes the
 * frames before it, and returns the address to record for this frame. */
static inline uintptr_t leave_allocator(struct walk *w, struct _Unwind_Context *context)
{
	uintptr_t function;

	if (allocator_end != 0) {
		if ((w->inside = in_allocator(w->ip)))
			w->len = 0;
		return w->ip;
	}
	function = _Unwind_GetRegionStart(context);
	if (function == 0 || !is_entry(function)) {
		w->inside = w->len < MAX_INNER;
		return w->ip;
	}
	w->len = 0;
	w->inside = function == (uintptr_t)gojemalloc_je_malloc_default; /* malloc may come next */
	return w->inside ? (uintptr_t)gojemalloc_malloc + 1 : w->ip;
}

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
	struct walk *w = arg;
	uintptr_t pc;
	int interrupted = 0;

	if (w->skip) {
		w->skip = false;
		return _URC_NO_REASON;
	}
	if (w->len == w->max)
		return _URC_END_OF_STACK;
	w->ip = _Unwind_GetIPInfo(context, &interrupted);
	if (w->ip == 0)
		return _URC_END_OF_STACK;
	w->cfa = _Unwind_GetCFA(context);
	pc = w->ip;
	if (w->inside)
		pc = leave_allocator(w, context);
	/* Readers of the stack subtract one from each return address to get an address in the
	 * call. If a signal has interrupted the function, there is no call, and pc is the
	 * interrupted instruction itself. So one is added. */
	push(w, interrupted ? pc + 1 : pc);
	return w->ip == w->stop ? _URC_END_OF_STACK : _URC_NO_REASON;
}

#if defined(__x86_64__)
static _Unwind_Reason_Code frame_learning(struct _Unwind_Context *context, void *arg)
{
	enum { RBP = 6 }; /* DWARF's number of the register */
	((struct learner *)arg)->fp = _Unwind_GetGR(context, RBP);
	return frame(context, arg);
}
#else
#define frame_learning frame
#endif

/* Loads through the kernel. It returns false if a plain load would crash. */
static bool load_checked(uintptr_t address, uintptr_t *value)
{
	int fd[2];
	bool ok;

	if (address % sizeof *value != 0 || pipe2(fd, O_CLOEXEC) != 0)
		return false;
	ok = write(fd[1], (const void *)address, sizeof *value) == (ssize_t)sizeof *value &&
		read(fd[0], value, sizeof *value) == (ssize_t)sizeof *value;
	close(fd[0]);
	close(fd[1]);
	return ok;
}

INLINE bool load(const struct learner *learner, uintptr_t address, uintptr_t *value)
{
	if (learner != NULL)
		return load_checked(address, value);
	*value = *(const uintptr_t *)address;
	return true;
}

/* Ends the walk, because something does not fit the layout. The learner records what. */
INLINE uintptr_t stop(struct learner *learner, const char *what)
{
	if (learner != NULL)
		learner->broken = what;
	return 0;
}

/* The learner takes the first address it meets as the landmark, and compares later ones
 * with it. The hook only compares. */
INLINE bool at_landmark(const struct learner *learner, uintptr_t *landmark, uintptr_t pc)
{
	if (learner != NULL && *landmark == 0)
		*landmark = pc;
	return pc != 0 && *landmark == pc;
}

/* Step 2, from asmcgocall's slots at w->cfa. Returns the address of cgocallback's frame
 * record. If the goroutine's stack ends first, the whole stack ends there, and walk_go
 * returns 0. */
INLINE uintptr_t walk_go(struct walk *w, struct learner *learner,
	const struct gojemalloc_layout *l, struct gojemalloc_landmarks *m)
{
	uintptr_t g, depth, lo, hi, fp, next, pc = 0;

	if (!load(learner, w->cfa + l->call_g, &g) || !load(learner, w->cfa + l->call_depth, &depth))
		return stop(learner, "the slots of runtime.asmcgocall");
	/* g is 0 if the runtime itself calls C from the system stack. (That call returns to
	 * another address, so the walk should not come here.) */
	if (g == 0 || !load(learner, g + l->g_lo, &lo) || !load(learner, g + l->g_hi, &hi) || lo >= hi || depth >= hi - lo)
		return stop(learner, "the bounds of the goroutine's stack");
	if (learner != NULL && ((hi - lo) & (hi - lo - 1)) != 0) /* Go's stacks have sizes of 2^n */
		return stop(learner, "the size of the goroutine's stack");
	fp = hi - depth + l->call_frame;
#if defined(__x86_64__)
	/* At the innermost crossing the register still has Go's frame pointer. At the others
	 * the goroutine's stack may have moved since. */
	if (learner != NULL && learner->crossings++ == 0 && fp != learner->fp)
		return stop(learner, "the depth of the goroutine's stack");
#endif
	while (fp >= lo && fp < hi - sizeof fp && fp % sizeof fp == 0) {
		if (w->len == w->max)
			return 0;
		if (!load(learner, fp, &next) || !load(learner, fp + sizeof fp, &pc))
			return stop(learner, "a frame of the goroutine");
		push(w, pc);
		if (next == 0)
			return 0;
		if (next <= fp && next >= lo)
			return stop(learner, "the order of the goroutine's frames");
		fp = next;
	}
	/* The chain may leave the goroutine's stack only for cgocallback's frame. That is on
	 * the system stack, further out. */
	if (fp <= w->cfa || fp % sizeof fp != 0 || !at_landmark(learner, &m->cgocallback, pc))
		return stop(learner, "the way from runtime.cgocallbackg to runtime.cgocallback");
	return fp;
}

/* Step 3, from cgocallback's frame record. */
INLINE bool walk_back(struct walk *w, struct learner *learner, uintptr_t record,
	const struct gojemalloc_layout *l, struct gojemalloc_landmarks *m, struct registers *r)
{
	uintptr_t pc, sp = record + l->back_sp;

	if (w->len == w->max)
		return false;
	if (!load(learner, record + sizeof record, &pc) || !at_landmark(learner, &m->crosscall2, pc))
		return stop(learner, "the frame of runtime.cgocallback");
	push(w, pc);
	for (int i = 0; i < GOJEMALLOC_SAVED; i++)
		if (!load(learner, sp + l->saved[i], &r->saved[i]))
			return stop(learner, "the registers that crosscall2 saved");
	if (!load(learner, sp + l->ret, &r->ip))
		return stop(learner, "the return address of crosscall2");
	r->sp = sp + l->cfa;
	if (learner != NULL && memcmp(r, &marked, sizeof marked) != 0)
		return stop(learner, "the registers that crosscall2 saved");
	return true;
}

INLINE void walk_all(struct walk *w, struct learner *learner,
	const struct gojemalloc_layout *l, struct gojemalloc_landmarks *m)
{
	_Unwind_Trace_Fn fn = learner != NULL ? frame_learning : frame;
	struct registers r;

	w->stop = m->asmcgocall;
	w->skip = true;
	__real__Unwind_Backtrace(fn, w);
	while (w->len < w->max && at_landmark(learner, &m->asmcgocall, w->ip)) {
		uintptr_t record = walk_go(w, learner, l, m);

		if (record == 0 || !walk_back(w, learner, record, l, m, &r))
			return;
		w->ip = 0;
		w->skip = true;
		gojemalloc_resume(&r, fn, w);
	}
}

/* jemalloc calls this for each allocation that it samples. It allocates no memory, takes
 * no lock and calls no Go. */
static void hook(void **pcs, unsigned *len, unsigned max)
{
	struct walk w = {.pcs = pcs, .max = max, .inside = true};

	walk_all(&w, NULL, &layout, &landmarks);
	gojemalloc_libraries_note(pcs, w.len);
	*len = w.len;
}

void gojemalloc_call_back(void) { gojemallocProbe(); }

void gojemalloc_probe_run(uintptr_t fn)
{
	char no_arguments;

	for (int i = 0; i < GOJEMALLOC_SAVED; i++)
		marked.saved[i] = 0x6a650001 + i;
	gojemalloc_marked_call((void (*)(void *))fn, &no_arguments, &marked);
}

void gojemalloc_probe_learn(const struct gojemalloc_layout *l, struct gojemalloc_landmarks *m,
	struct gojemalloc_probe *probe)
{
	struct learner learner = {.walk = {.pcs = probe->pcs, .max = GOJEMALLOC_MAX_FRAMES}};

	*m = (struct gojemalloc_landmarks){0};
	walk_all(&learner.walk, &learner, l, m);
	probe->broken = learner.broken;
	probe->len = learner.walk.len;
}

void gojemalloc_probe_here(const struct gojemalloc_layout *l, const struct gojemalloc_landmarks *m,
	struct gojemalloc_probe *probe)
{
	struct walk w = {.pcs = probe->pcs, .max = GOJEMALLOC_MAX_FRAMES};
	struct gojemalloc_landmarks known = *m;

	walk_all(&w, NULL, l, &known);
	probe->broken = NULL;
	probe->len = w.len;
}

/* Records the code of the library that arg points into as jemalloc's, unless this file is
 * in the same library: then jemalloc is static, and its code has no bounds of its own. */
static int find_allocator(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X) || (uintptr_t)arg - start >= p->p_memsz)
			continue;
		if ((uintptr_t)hook - start >= p->p_memsz) {
			allocator_start = start;
			allocator_end = start + p->p_memsz;
		}
		return 1;
	}
	return 0;
}

int gojemalloc_hook_install(const struct gojemalloc_layout *l, const struct gojemalloc_landmarks *m, void **stock)
{
	size_t len = sizeof *stock;
	int err = gojemalloc_ctl("experimental.hooks.prof_backtrace", stock, &len, NULL, 0);

	if (err != 0)
		return err;
	layout = *l;
	landmarks = *m;
	dl_iterate_phdr(find_allocator, *stock);
	gojemalloc_libraries_start();
	return gojemalloc_hook_replace(NULL);
}

int gojemalloc_hook_replace(void *unwinder)
{
	if (unwinder == NULL)
		unwinder = (void *)hook;
	return gojemalloc_ctl("experimental.hooks.prof_backtrace", NULL, NULL, &unwinder, sizeof unwinder);
}
