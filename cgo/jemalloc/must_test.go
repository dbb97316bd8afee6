package jemalloc

// must returns v. Its type may be one of C, which a test cannot name.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
