package survey

import "magellan/internal/services"

// Report is what a walk has found.
type Report struct {
	// Found are ordered by path.
	Found []Found
	// Znodes is how many znodes were read. Denied is how many may not be read, and DeniedPath is
	// the first of them.
	Znodes, Denied int
	DeniedPath     string
	// Cut: there are more znodes than were read.
	Cut bool
}

// Found is a mount that was recognised.
type Found struct {
	Mount *services.Mount
	// Services is how many directories have instances in them, Instances how many these are,
	// and Broken how many znodes among them do not parse.
	Services, Instances, Broken int
	// Overlaps is nil, or a mount found before with which this one cannot be served together.
	Overlaps *services.Mount
}
