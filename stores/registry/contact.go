package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/layercache/layercache/stores/sqlsource"
)

// silences is how often a sign of life is tried again that the database was too slow for. With a grace that is shorter than a
// statement takes, each is: the last try is made without.
const silences = 4

// sign writes a sign of life; write answers when, 0 for not at all. It goes on from the last contact of this process: while
// there was one for each grace, there was no silence of everybody. After a silence, a Contact goes before, since the first
// to come back must leave word of it, or the others look dead. The statement itself looks at the database's clock: how
// long it is under way does not matter.
func (s *SQL) sign(ctx context.Context, grace time.Duration, write func(last sqlsource.Contact) (at int64, err error)) error {
	s.mu.Lock()
	last := sqlsource.Contact{At: s.seen, Grace: grace}
	s.mu.Unlock()
	for try := 0; ; try++ {
		if last.At == 0 || try > 0 {
			at, _, err := s.agents.Contact(ctx, grace)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrUnchanged, err) // whatever became of the Contact
			}
			last.At = at
		}
		if try == silences {
			last.Grace = 0
		}
		at, err := write(last)
		if errors.Is(err, sqlsource.ErrSilence) {
			continue
		}
		if err == nil {
			s.saw(max(last.At, at))
		}
		return err
	}
}

// saw notes a contact with the database.
func (s *SQL) saw(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = at
}
