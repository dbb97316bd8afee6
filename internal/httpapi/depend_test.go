package httpapi

import (
	"testing"
	"time"
)

// TestRetryIn: an outage is looked at often at first, and less and less.
func TestRetryIn(t *testing.T) {
	var d dependencies
	looks, passed := 0, time.Duration(0)
	for ; passed < 5*time.Minute; looks++ {
		in := d.retryIn()
		if in < firstRetry || in > 2*lastRetry {
			t.Fatalf("look %d comes after %v", looks, in)
		}
		if looks == 0 && in > 2*firstRetry {
			t.Errorf("the first look comes after %v", in)
		}
		passed += in
	}
	if looks > 25 {
		t.Errorf("%d looks in five minutes", looks)
	}
	d.answered()
	if in := d.retryIn(); in > 2*firstRetry {
		t.Errorf("after an answer the next look comes after %v", in)
	}
}
