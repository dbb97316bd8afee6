package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// within reads, and sees to it that the answer is as fresh as opt asks: what is
// too old is read again from ZooKeeper; where that fails, what is held is taken
// if opt takes it.
func within[T any](opt ReadOptions, read func(ReadOptions) (T, Meta, error)) (T, Meta, error) {
	answer, meta, content, err := freshest(opt, read)
	if isAnswer(err) && !content {
		if refusal := opt.refuse(meta); refusal != nil {
			var none T
			return none, meta, refusal
		}
	}
	return answer, meta, err
}

// freshest is within without its last word, which is refuse. content says that the
// answer will do as it is.
func freshest[T any](opt ReadOptions, read func(ReadOptions) (T, Meta, error)) (answer T, meta Meta, content bool, err error) {
	if opt.MinZxid < 0 {
		return answer, Meta{}, false, fmt.Errorf("%w: the least zxid is no transaction's: want a positive hexadecimal number, such as 0x10000002a", ErrInvalidRequest)
	}
	plain := ReadOptions{Fresh: opt.Fresh, MinZxid: opt.MinZxid}
	answer, meta, err = read(plain)
	if !opt.Fresh && isAnswer(err) && !opt.takes(meta) {
		plain.Fresh = true
		answer, meta, err = read(plain)
	}
	if opt.StaleIfError > 0 && plain.Fresh && isOutage(err) {
		plain.Fresh = false
		held, heldMeta, heldErr := read(plain)
		if isAnswer(heldErr) && heldMeta.Age <= opt.StaleIfError {
			return held, heldMeta, true, heldErr
		}
	}
	return answer, meta, false, err
}

// refuse returns why an answer will not do although ZooKeeper was asked: what it
// holds cannot be served, as it does not parse, say.
func (o *ReadOptions) refuse(m Meta) error {
	if m.Cache != Stale || o.takes(m) {
		return nil
	}
	return fmt.Errorf("%w: what is held was last known to be true %v ago, which is more than the request allows",
		ErrUnavailable, m.Age.Round(time.Second))
}

// isAnswer reports whether err says something about the data: none, that there
// are none, or that they are broken.
func isAnswer(err error) bool {
	return err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBadData)
}

// isOutage reports whether err is ZooKeeper's and not the request's fault.
func isOutage(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOverloaded) || errors.Is(err, context.DeadlineExceeded)
}
