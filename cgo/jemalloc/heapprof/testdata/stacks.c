// A program with known stacks: the tests compile it in several ways, let it
// dump its own heap profile to the file in its argument, and compare names
// and lines with the marks in the comments.
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

extern int mallctl(const char *, void *, size_t *, void *, size_t);

#define KEEP __attribute__((noinline, noclone))
#define INLINE static inline __attribute__((always_inline))
#define BARRIER() __asm__ volatile("" ::: "memory")

static void *volatile kept[4096];
static int nkept;

INLINE void keep(void *p) { kept[nkept++] = p; }

INLINE void inner_inline(size_t n) {
    keep(malloc(n)); // MARK inner_inline
    BARRIER();
}

INLINE void outer_inline(size_t n) {
    inner_inline(n); // MARK outer_inline
    BARRIER();
}

KEEP void leak_inlined(size_t n) {
    for (int i = 0; i < 50; i++)
        outer_inline(n); // MARK leak_inlined
    BARRIER();
}

KEEP static void leak_static(size_t n) {
    for (int i = 0; i < 30; i++)
        keep(calloc(1, n)); // MARK leak_static
    BARRIER();
}

KEEP void leak_exported(size_t n) {
    for (int i = 0; i < 20; i++)
        keep(malloc(n)); // MARK leak_exported
    BARRIER();
}

// The call is the last instruction: its return address is in the next
// function.
KEEP __attribute__((noreturn)) static void dump_and_exit(const char *path) {
    exit(mallctl("prof.dump", NULL, NULL, &path, sizeof(path)) != 0);
}

static void *thread_main(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "stack worker");
    leak_exported(100); // MARK thread_main
    BARRIER();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread;
    if (argc != 2)
        return 2;
    leak_inlined(4000); // MARK main_inlined
    leak_static(300);   // MARK main_static
    if (pthread_create(&thread, NULL, thread_main, NULL) != 0)
        return 3;
    pthread_join(thread, NULL);
    dump_and_exit(argv[1]);
}
