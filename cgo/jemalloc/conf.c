/* jemalloc reads this symbol when the process starts, before main and before
 * Go's runtime. It stands in a .c file of its own because a definition in a cgo
 * preamble is linked twice as soon as its package exports a function.
 *
 * Later settings win: this string, then /etc/malloc.conf, then MALLOC_CONF.
 *
 * prof                   can only be switched on here, never while running
 * prof_active            allocations made while it is off are never seen
 * lg_prof_sample:19      one sample each 512 KiB on average
 * prof_accum             counts what was allocated, not only what is still in
 *                        use; the stacks of freed memory are kept for it
 * prof_sys_thread_name   names threads in dumps, so that stacks on a C
 *                        library's own threads can be told apart
 * background_thread      returns freed pages while no C code runs; otherwise
 *                        they would stay until the next call of free
 * max_background_threads one is enough for that, and leaves the processors alone
 */
const char *malloc_conf =
	"prof:true,prof_active:true,lg_prof_sample:19,prof_accum:true,prof_sys_thread_name:true,"
	"background_thread:true,max_background_threads:1";
