package main

import (
	"errors"
	"fmt"
)

// check is one answer to whether a permission that is being revoked is there.
type check struct {
	// Began is when the check began, on the machine's clock.
	Began int64 `json:"b"`
	// AsOf is the version of the policy that answered.
	AsOf uint64 `json:"v"`
	// Allowed is the answer.
	Allowed bool `json:"a,omitempty"`
}

// revocation is one Put that took a permission away, on the machine's clock.
type revocation struct {
	permission
	called   int64
	returned int64
	version  uint64 // as Put answered it
}

// tally counts answers by whether they were right to use the old policy.
type tally struct {
	before int64 // old answers of checks that began before Put returned: they may
	during int64 // of these, those that began after it was called
	after  int64 // answers of checks that began after Put returned
	stale  int64 // of these, those that still used the old policy; and any that passed the old policy off as the new one
}

// judge counts the checks of a revocation. An answer used the old policy if it allows, since the new one denies, or if
// its version is below the one Put has answered. A clock reading of a check is from before it began, that of the
// revocation from after Put returned, so no check is called stale that overlapped with Put.
func (t *tally) judge(r revocation, checks []check) {
	for _, c := range checks {
		late := c.Began > r.returned
		if late {
			t.after++
		}
		switch {
		case late && (c.Allowed || c.AsOf < r.version), c.Allowed && c.AsOf >= r.version:
			t.stale++
		case c.Allowed:
			t.before++
			if c.Began >= r.called {
				t.during++
			}
		}
	}
}

// verdict is nil if nothing was stale and there was something to see: answers from both sides of the revocations.
func (t *tally) verdict() error {
	switch {
	case t.stale > 0:
		return fmt.Errorf("%d stale decisions: their checks began after Put had returned and used the old policy", t.stale)
	case t.before == 0:
		return errors.New("no old answer was seen before Put returned: the run proves nothing")
	case t.after == 0:
		return errors.New("no check began after Put had returned: the run proves nothing")
	}
	return nil
}
