package registry

import "time"

// life says since when the backend has been in contact with the agents, so that nobody is marked offline for a silence
// that was the backend's own. life.lua is the same rule in Redis.
type life struct {
	since   time.Time // the begin of this life: of the data, or of the contact
	contact time.Time // the last heartbeat, registration or Reap
	beaten  bool      // there was a heartbeat in this life
}

// touch counts a contact. A silence of everybody for longer than grace begins a new life, unless nobody has beaten in this
// one: then there is nobody to wait for, and a Reap that comes rarely still marks. A clock that went back does too. Without a
// grace no silence is one.
func (l *life) touch(now time.Time, grace time.Duration, beat bool) {
	gap := now.Sub(l.contact)
	if l.since.IsZero() || grace > 0 && (gap < -grace || gap > grace && l.beaten) {
		*l = life{since: now}
	}
	l.contact = now
	l.beaten = l.beaten || beat
}

// settled says whether silence has passed in this life: only then does it mean anything.
func (l *life) settled(now time.Time, silence time.Duration) bool {
	return now.Sub(l.since) >= silence
}
