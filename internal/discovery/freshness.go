package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Within reads, and sees to it that the answer is as fresh as opt asks: what is
// too old is read again from ZooKeeper; where that fails, what is held is taken
// if opt takes it.
func Within[T any](opt ReadOptions, read func(ReadOptions) (T, Meta, error)) (T, Meta, error) {
	answer, meta, content, err := Freshest(opt, read)
	if IsAnswer(err) && !content {
		if refusal := opt.Refuse(meta); refusal != nil {
			var none T
			return none, meta, refusal
		}
	}
	return answer, meta, err
}

// Freshest is Within without its last word, which is Refuse. content says that the
// answer will do as it is.
func Freshest[T any](opt ReadOptions, read func(ReadOptions) (T, Meta, error)) (answer T, meta Meta, content bool, err error) {
	if opt.MinZxid < 0 {
		return answer, Meta{}, false, fmt.Errorf("%w: the least zxid is no transaction's: want a positive hexadecimal number, such as 0x10000002a", ErrInvalidRequest)
	}
	plain := ReadOptions{Fresh: opt.Fresh, MinZxid: opt.MinZxid}
	answer, meta, err = read(plain)
	if !opt.Fresh && IsAnswer(err) && !opt.Takes(meta) {
		plain.Fresh = true
		answer, meta, err = read(plain)
	}
	if opt.StaleIfError > 0 && plain.Fresh && isOutage(err) {
		plain.Fresh = false
		held, heldMeta, heldErr := read(plain)
		if IsAnswer(heldErr) && heldMeta.Age <= opt.StaleIfError {
			return held, heldMeta, true, heldErr
		}
	}
	return answer, meta, false, err
}

// Refuse returns why an answer will not do although ZooKeeper was asked: what it
// holds cannot be served, as it does not parse, say.
func (o *ReadOptions) Refuse(m Meta) error {
	if m.Cache != Stale || o.Takes(m) {
		return nil
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, which is more than the request allows",
		ErrUnavailable, m.Age.Round(time.Second))
}

// IsAnswer reports whether err says something about the data: none, that there
// are none, or that they are broken.
func IsAnswer(err error) bool {
	return err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadData)
}

// isOutage reports whether err is ZooKeeper's and not the request's fault.
func isOutage(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOverloaded) || errors.Is(err, context.DeadlineExceeded)
}

// Bound is the greatest age that an answer may have: beyond it there is none but
// [ErrTooOld]. 0 is no bound.
type Bound time.Duration

// Check turns what was last known to be true too long ago into ErrTooOld: a value,
// but also that there is none, or that it is broken. err is the read's.
func (b Bound) Check(meta Meta, err error) error {
	if b == 0 || meta.Age <= time.Duration(b) || !IsAnswer(err) {
		return err
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, and answers older than %v are not given",
		ErrTooOld, meta.Age.Round(time.Second), time.Duration(b))
}

// Allow says how well an answer is known that a doubt is about, nil for none, or why
// it is none. A doubt is no reason to ask ZooKeeper again: it has been asked, and what
// it holds is what cannot be served.
func (b Bound) Allow(d *Doubt, opt ReadOptions) (Meta, error) {
	switch {
	case d == nil:
		return Meta{}, nil
	case d.Accepted:
		return Meta{}, fmt.Errorf("%w: %s", ErrBadData, d.Reason)
	case d.Since.IsZero(), d.Name != "" && !d.Held:
		return Meta{}, fmt.Errorf("%w: %s", ErrUnread, d.Reason)
	}
	meta := Meta{Age: max(0, time.Since(d.Since)), Cache: Stale}
	if opt.MinZxid > d.Zxid {
		return meta, fmt.Errorf("%w: what ZooKeeper has held since %#x cannot be served: %s", ErrUnavailable, d.Zxid, d.Reason)
	}
	if err := b.Check(meta, nil); err != nil {
		return meta, fmt.Errorf("%w: %s", err, d.Reason)
	}
	return meta, nil
}
