package main

import (
	"context"
	"errors"
	"slices"
)

// undo is what remains to be undone, run from the last to the first.
type undo []func(context.Context) error

func (u *undo) add(f func(context.Context) error) { *u = append(*u, f) }

// run undoes everything, whatever fails, as far as ctx allows.
func (u *undo) run(ctx context.Context) error {
	var errs []error
	for _, f := range slices.Backward(*u) {
		errs = append(errs, f(ctx))
	}
	*u = nil
	return errors.Join(errs...)
}
