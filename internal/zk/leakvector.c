//go:build leakvector

#include "internal.h"
#include "leakvector.h"

// Gives the names of children back if there are any. For none, libzookeeper has
// allocated an array of 0 bytes, and that is what is forgotten here: 8 bytes a
// call, on a stack without any caller of ours, for it is the I/O thread that
// reads the answer.
void zk_leak_children(zk_handle *h, const char *path)
{
	zhandle_t *zh = atomic_load(&h->zh);
	struct String_vector names = {0};
	struct Stat stat;

	if (zh != NULL && zoo_get_children2(zh, path, 0, &names, &stat) == ZOK && names.count > 0)
		deallocate_String_vector(&names);
}
