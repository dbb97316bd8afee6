// Package child runs the programs that are soaked as child processes, which end
// with this one whatever happens.
package child
