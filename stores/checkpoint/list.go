package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/layercache/layercache/readthrough"
	"github.com/layercache/layercache/stores/layout"
)

// Limits of a page: what 0 means, and what more than is not answered.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// ErrBadCursor is returned, before any I/O, for a cursor that no Page had.
var ErrBadCursor = errors.New("checkpoint: bad cursor")

// Page is a part of a list.
type Page struct {
	// Threads, those saved last first.
	Threads []Thread
	// Next is the cursor of the next page; "": this is the last one. It is opaque and never ends.
	Next string
}

// List answers live threads, those saved last first. cursor is "" for the first page, else the Next of the page before.
// limit is from 1 to 1000; 0 means 100, and more than 1000 means 1000.
//
// Pages that follow each other show no thread twice, and each thread that lived all the time and was not saved meanwhile. One
// that is saved meanwhile moves to the front: whoever is past that finds it in the next listing. A page without threads is the
// last one; one with fewer than limit need not be. An error is never a page without threads.
func (s *Store) List(ctx context.Context, cursor string, limit int) (Page, error) {
	if s.writes.IsShut() {
		return Page{}, readthrough.ErrClosed
	}
	if limit < 0 {
		return Page{}, fmt.Errorf("checkpoint: list: limit must be from 0 to %d, got %d", maxLimit, limit)
	}
	if limit == 0 {
		limit = defaultLimit
	}
	before, err := parseCursor(cursor)
	if err != nil {
		return Page{}, err
	}
	q := Query{Before: before, Limit: min(limit, maxLimit), Foreign: s.cfg.Foreign}
	for {
		l, err := s.cfg.Backend.List(ctx, q)
		if err != nil {
			return Page{}, fmt.Errorf("checkpoint: list: %w", layout.Unavailable(err))
		}
		if len(l.Threads) == 0 && l.More { // all that was looked at was dead, and is gone now
			if q.Before != 0 && l.Next >= q.Before {
				return Page{}, fmt.Errorf("checkpoint: list: %w: the backend does not come to an end", readthrough.ErrUnavailable)
			}
			q.Before = l.Next
			continue
		}
		page := Page{Threads: l.Threads}
		if l.More {
			page.Next = formatCursor(l.Next)
		}
		return page, nil
	}
}

const cursorPrefix = "c1."

func formatCursor(before uint64) string { return cursorPrefix + strconv.FormatUint(before, 36) }

func parseCursor(cursor string) (uint64, error) {
	if cursor == "" {
		return 0, nil
	}
	digits, ok := strings.CutPrefix(cursor, cursorPrefix)
	if !ok {
		return 0, ErrBadCursor
	}
	before, err := strconv.ParseUint(digits, 36, 63)
	if err != nil || before == 0 || formatCursor(before) != cursor {
		return 0, ErrBadCursor
	}
	return before, nil
}
