/* On other processors no stack is followed from C into Go. */
#if !defined(__x86_64__) && !defined(__aarch64__)

#include "landmarks.h"

const char *landmarks_read(const struct goimage *image, struct landmarks *landmarks)
{
	(void)image, (void)landmarks;
	return "no unwinder for Go is written for this processor";
}

bool landmarks_calls_asmcgocall(const struct landmarks *landmarks, uintptr_t return_address)
{
	(void)landmarks, (void)return_address;
	return false;
}

#endif
