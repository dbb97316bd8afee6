/* Reads the landmarks: which functions of Go's runtime, and in which order. How their
 * instructions are read is in landmarks_amd64.c and landmarks_arm64.c. */
#if defined(__x86_64__) || defined(__aarch64__)

#include <string.h>

#include "machine.h"

static bool note_cgocallbackg(void *arg, uintptr_t start, uintptr_t end)
{
	struct reading *r = arg;

	(void)end;
	*(r->g == 0 ? &r->g : &r->g2) = start;
	return false;
}

const char *landmarks_read(const struct goimage *image, struct landmarks *l)
{
	struct reading r = {.image = image, .l = l};

	memset(l, 0, sizeof *l);
	if (!goimage_named(image, "runtime.asmcgocall", machine_asmcgocall, &r))
		return "the instructions of runtime.asmcgocall are not those of a known Go version";
	if (!machine_call_frame(image, l))
		return "the frame of runtime.asmcgocall is not that of a known Go version";
	goimage_named(image, "runtime.cgocallbackg", note_cgocallbackg, &r);
	if (r.g == 0)
		return NULL; /* the linker left it out, because no C code calls Go */
	if (!goimage_named(image, "runtime.cgocallback", machine_cgocallback, &r))
		return "the instructions of runtime.cgocallback are not those of a known Go version";
	if (!goimage_named(image, "crosscall2", machine_crosscall2, &r))
		return "the instructions of crosscall2 are not those of a known Go version";
	if (!machine_back_frame(image, l))
		return "the frame of runtime.cgocallback is not that of a known Go version";
	return NULL;
}

#endif
