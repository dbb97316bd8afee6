/* A function with a quick way out and a long rest, of which GCC makes a function of its
 * own, load.part.0: the tests want to see one call of load. */
#include <stddef.h>
#include <stdlib.h>

extern int mallctl(const char *, void *, size_t *, void *, size_t);

static void *volatile kept[4096];
static int nkept;

void load(const char *key, int n)
{
    if (key == NULL)
        return;
    for (int i = 0; i < n; i++)
        kept[nkept++] = malloc(100); // MARK load
    for (int i = 0; i < nkept; i += 2)
        free(kept[i]), kept[i] = NULL;
    for (int i = 0; i < n; i++)
        kept[nkept++] = malloc(100 + key[0]);
    for (int i = 1; i < nkept; i += 2)
        free(kept[i]), kept[i] = NULL;
}

__attribute__((noinline)) static void load_all(char **keys, int n)
{
    for (int i = 0; i < n; i++)
        load(keys[i], 10); // MARK load_all
    __asm__ volatile("" ::: "memory");
}

int main(int argc, char **argv)
{
    void (*volatile direct)(const char *, int) = load;
    load_all(argv, argc);
    direct(argv[0], 3);
    return mallctl("prof.dump", NULL, NULL, &argv[1], sizeof(argv[1])) != 0;
}
