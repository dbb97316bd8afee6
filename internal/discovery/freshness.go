package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Within calls read, and returns an answer that is as fresh as opt requires, or an error.
// An answer that is too old is read again from ZooKeeper. If that read fails, Within
// returns the answer from memory if opt allows its age.
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

// Freshest is [Within] without the last step, in which [ReadOptions.Refuse] refuses an
// answer. content says that this step is not needed: StaleIfError allows the answer.
func Freshest[T any](opt ReadOptions, read func(ReadOptions) (T, Meta, error)) (answer T, meta Meta, content bool, err error) {
	if opt.MinZxid < 0 {
		return answer, Meta{}, false, fmt.Errorf("%w: the least zxid is negative, and that of a transaction is a positive hexadecimal number, such as 0x10000002a", ErrInvalidRequest)
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

// Refuse returns an error if an answer is too old although ZooKeeper was asked: what
// ZooKeeper holds cannot be served, for example because it does not parse.
func (o *ReadOptions) Refuse(m Meta) error {
	if m.Cache != Stale || o.Takes(m) {
		return nil
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, which is more than the request allows",
		ErrUnavailable, m.Age.Round(time.Second))
}

// IsAnswer reports whether a read that ended in err has found out about the data. It has
// if err is nil, or says that there are no data or that they are broken.
func IsAnswer(err error) bool {
	return err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadData)
}

// isOutage reports whether err is due to ZooKeeper and not to the request.
func isOutage(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOverloaded) || errors.Is(err, context.DeadlineExceeded)
}

// Bound is the greatest age that an answer may have. A request that has only an older
// answer fails with [ErrTooOld]. 0 means no bound.
type Bound time.Duration

// Check returns [ErrTooOld] in place of an answer that was last known to be true too long
// ago. That a thing does not exist, or is broken, is such an answer as well. err is the
// error of the read; Check returns it if there is nothing to refuse.
func (b Bound) Check(meta Meta, err error) error {
	if b == 0 || meta.Age <= time.Duration(b) || !IsAnswer(err) {
		return err
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, and answers older than %v are not given",
		ErrTooOld, meta.Age.Round(time.Second), time.Duration(b))
}

// Allow returns how well an answer is known if there is a doubt about it, or an error if
// the answer may not be given. A nil doubt allows the answer. A doubt is no reason to ask
// ZooKeeper again: ZooKeeper has been asked, and what it holds cannot be served.
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
