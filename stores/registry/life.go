package registry

import "time"

// life says since when the backend has been in contact with the agents, so that nobody is marked offline for a silence
// that was the backend's own. life.lua is the same rule in Redis.
type life struct {
	since   time.Time // the begin of this life: of the data, or of the contact
	contact time.Time // the last heartbeat, registration or Reap
	beaten  bool      // there was a heartbeat in this life
}

// touch counts a contact. A silence of everybody for longer than grace begins a new life. If nobody has beaten in this one,
// there may be nobody to wait for: then the silence only counts as no more than grace, and a Reap that comes rarely still
// marks, after some more of them. A clock that went back begins a new life too. Without a grace no silence is one.
func (l *life) touch(now time.Time, grace time.Duration, beat bool) {
	gap := now.Sub(l.contact)
	switch {
	case l.since.IsZero() || grace > 0 && (gap < -grace || gap > grace && l.beaten):
		*l = life{since: now}
	case grace > 0 && gap > grace:
		l.since = l.since.Add(gap - grace)
	}
	l.contact = now
	l.beaten = l.beaten || beat
}

// settled says whether silence has passed in this life: only then does it mean anything.
func (l *life) settled(now time.Time, silence time.Duration) bool {
	return now.Sub(l.since) >= silence
}
