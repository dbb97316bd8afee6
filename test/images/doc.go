// Package images tests the images that the Dockerfiles make, and the system of
// compose.yaml, as containers of a real Docker engine: test/images/run.sh, or
// make test-images. It holds nothing but tests. Without MAGELLAN_TEST_IMAGES, the
// tag of the images to test, they are skipped: go test alone builds no images.
//
// Each test makes its own network and containers, speaks to them through ports on
// the loopback address, and removes all of it at the end.
package images
