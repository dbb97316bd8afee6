// Package arch holds no code: its tests are the architecture, checked. They say
// which package may import which and why, where C may stand, and what each
// package, script and file owes the next reader. A rule that stands in the way
// is changed here, with its reason, not worked around.
package arch
