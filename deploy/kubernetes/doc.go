// Package kubernetes checks the manifests beside it: they are decoded by the API's
// own types, and a field that does not exist there is an error. It is a module of
// its own because those types are of no use to the program.
package kubernetes
