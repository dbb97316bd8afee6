// A program whose functions have names that jemalloc's have, too. It is linked with
// one that is a library and with one that becomes part of it.
#include <stddef.h>
#include <stdlib.h>

extern int mallctl(const char *, void *, size_t *, void *, size_t);

#define KEEP __attribute__((noinline, noclone))
#define BARRIER() __asm__ volatile("" ::: "memory")

static void *volatile kept[64];
static int nkept;

KEEP static void *my_malloc(size_t n)
{
    void *p = malloc(n);
    BARRIER();
    return p;
}

KEEP static void prof_dump(void (*make)(void))
{
    make();
    BARRIER();
}

KEEP static void te_free(void (*make)(void))
{
    prof_dump(make);
    BARRIER();
}

KEEP void arena_malloc_stats(void (*make)(void))
{
    te_free(make);
    BARRIER();
}

KEEP void je_loop(void (*make)(void))
{
    arena_malloc_stats(make);
    BARRIER();
}

KEEP void thread_event_loop(void (*make)(void))
{
    je_loop(make);
    BARRIER();
}

#define MAKE(name, expression)                                                 \
    KEEP static void name(void)                                                \
    {                                                                          \
        kept[nkept++] = (expression);                                          \
        BARRIER();                                                             \
    }

KEEP static void *aligned(void)
{
    void *p = NULL;
    int err = posix_memalign(&p, 64, 1000);
    BARRIER();
    return err == 0 ? p : NULL;
}

// do_rallocx is also a static function of jemalloc.
static void *volatile none;
KEEP static void *do_rallocx(size_t n)
{
    void *p = realloc(none, 100);
    BARRIER();
    p = realloc(p, n);
    BARRIER();
    return p;
}

MAKE(by_malloc, malloc(1000))
MAKE(by_calloc, calloc(10, 100))
MAKE(by_realloc, do_rallocx(1000))
MAKE(by_aligned_alloc, aligned_alloc(64, 960))
MAKE(by_posix_memalign, aligned())
MAKE(by_my_malloc, my_malloc(1000))

int main(int argc, char **argv)
{
    const char *path = argv[argc - 1];

    thread_event_loop(by_malloc);
    thread_event_loop(by_calloc);
    thread_event_loop(by_realloc);
    thread_event_loop(by_aligned_alloc);
    thread_event_loop(by_posix_memalign);
    thread_event_loop(by_my_malloc);
    return mallctl("prof.dump", NULL, NULL, &path, sizeof path) != 0;
}
