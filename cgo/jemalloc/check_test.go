package jemalloc

import (
	"errors"
	"testing"
)

func TestCheckAcceptsThisProcess(t *testing.T) {
	want := error(nil)
	if asan {
		want = ErrNotLinked
	}
	if err := Check(); !errors.Is(err, want) {
		t.Errorf("Check() = %v, want %v", err, want)
	}
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	good := linked{version: "5.3.0-0-g54eaed1d", prof: true, moved: probeLen + 64}
	for _, c := range []struct {
		name   string
		change func(*linked)
		want   error
	}{
		{"good", func(*linked) {}, nil},
		{"old", func(l *linked) { l.version = "5.2.1-0-gea6b3e97" }, ErrTooOld},
		{"much older", func(l *linked) { l.version = "4.9.9" }, ErrTooOld},
		{"short", func(l *linked) { l.version = "5.3" }, ErrTooOld},
		{"newer", func(l *linked) { l.version = "5.10.0" }, nil},
		{"much newer", func(l *linked) { l.version = "6.0.0" }, nil},
		{"development", func(l *linked) { l.version = "0f9a1c6d" }, nil},
		{"other malloc", func(l *linked) { l.moved = 0 }, ErrNotMalloc},
		{"no profiling", func(l *linked) { l.prof = false }, ErrNoProfiling},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := good
			c.change(&l)
			if err := l.check(); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v, want %v", l, err, c.want)
			}
		})
	}
}
