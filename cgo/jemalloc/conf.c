/* jemalloc reads this symbol when the process starts, before main and before
 * Go's runtime. The definition has its own .c file, because a definition in a cgo
 * preamble is linked twice if the package exports a function.
 *
 * jemalloc reads this string, then /etc/malloc.conf, then MALLOC_CONF. The last
 * setting of an option counts.
 *
 * prof                   cannot be switched on while the process runs
 * prof_active            allocations made while it is off are never in a profile
 * lg_prof_sample:19      one sample each 512 KiB on average
 * prof_accum             counts what was allocated, not only what is still in
 *                        use; the stacks of freed memory are kept for it
 * prof_sys_thread_name   names threads in dumps, so that stacks on a C
 *                        library's own threads can be told apart
 * background_thread      returns freed pages while no C code runs; without it
 *                        they would stay until the next call of free
 * max_background_threads one thread is enough for that and takes little processor time
 */
const char *malloc_conf =
	"prof:true,prof_active:true,lg_prof_sample:19,prof_accum:true,prof_sys_thread_name:true,"
	"background_thread:true,max_background_threads:1";
