#include "internal.h"
#include "leakvector.h"

// Frees the names of children if there are any. If there are none, libzookeeper has
// allocated an array of 0 bytes, and this function does not free it. That leaks 8 bytes
// a call. The I/O thread reads the answer, so the stack has no caller of ours.
void zk_leak_children(zk_handle *h, const char *path)
{
	zhandle_t *zh = atomic_load(&h->zh);
	struct String_vector names = {0};
	struct Stat stat;

	if (zh != NULL && zoo_get_children2(zh, path, 0, &names, &stat) == ZOK && names.count > 0)
		deallocate_String_vector(&names);
}
