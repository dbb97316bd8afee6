#ifdef __cplusplus
extern "C" {
#endif

/* Puts n records into a cache of C++, which keeps them. Each throws an exception on the way,
 * which is caught. */
void shop_put(int n);

/* Throws an exception through a callback of Go's caller: through C++ only. Returns how many
 * were caught. */
int shop_throw(int n);

#ifdef __cplusplus
}
#endif
