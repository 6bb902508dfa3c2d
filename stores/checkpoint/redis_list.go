package checkpoint

import (
	"context"
	_ "embed"
	"errors"
	"strconv"

	"github.com/layercache/layercache/stores/layout"
)

var (
	//go:embed list.lua
	listSource string
	//go:embed adopt.lua
	adoptSource string

	listScript  = layout.NewScript(layout.Primary + threadSource + listSource)
	adoptScript = layout.NewScript(threadSource + adoptSource)
)

const (
	looked  = 2000 // how many ids one script of a listing looks at, a few ms of the server's time
	adopted = 1000 // how many ids one script of an adoption looks at, about
)

// List implements Backend. The first page brings what other programs saved into the index: if q.Foreign says that there
// are such programs, or the set of ids is larger than the index. That costs one round trip for each thousand ids.
func (r *Redis) List(ctx context.Context, q Query) (Listing, error) {
	before := ""
	if q.Before > 0 {
		before = strconv.FormatUint(q.Before, 10)
	} else if q.Foreign {
		if err := r.adopt(ctx); err != nil {
			return Listing{}, err
		}
	}
	l, behind, err := r.page(ctx, before, q)
	switch {
	case err != nil || !behind:
		return l, err
	case before != "":
		return Listing{}, errIndexLost
	}
	if err := r.adopt(ctx); err != nil {
		return Listing{}, err
	}
	l, behind, err = r.page(ctx, before, q)
	if err == nil && behind {
		// Somebody adds to the set alone faster than it is read. What the index has is listed all the same.
		l, behind, err = r.page(ctx, strconv.FormatUint(1<<53, 10), q)
	}
	if err == nil && behind { // it is lost again and again: a list without its threads would say that there are none
		return Listing{}, errIndexLost
	}
	return l, err
}

var errIndexLost = layout.Unavailable(errors.New("checkpoint: the index is lost, and with it the order of this list: begin it anew"))

// page runs list.lua once.
func (r *Redis) page(ctx context.Context, before string, q Query) (l Listing, behind bool, err error) {
	answer, err := listScript.Run(ctx, r.client, []string{r.set, r.index},
		before, q.Limit, max(looked, q.Limit), r.states, r.marks, flag(q.Foreign))
	if err != nil {
		return l, false, err
	}
	row, ok := answer.([]any)
	if !ok || len(row) < 2 || len(row)%3 != 2 {
		return l, false, unexpected(answer)
	}
	if row[0] == int64(1) {
		return l, true, nil
	}
	if next, ok := row[1].(string); !ok {
		return l, false, unexpected(answer)
	} else if next != "" {
		if l.Next, err = strconv.ParseUint(next, 10, 64); err != nil {
			return l, false, unexpected(answer)
		}
		l.More = true
	}
	for row = row[2:]; len(row) > 0; row = row[3:] {
		id, okID := row[0].(string)
		order, okOrder := row[1].(string)
		pin, okPin := row[2].(string)
		n, err := strconv.ParseUint(order, 10, 64)
		if !okID || !okOrder || !okPin || err != nil {
			return Listing{}, false, unexpected(answer)
		}
		l.Threads = append(l.Threads, Thread{ID: id, Order: n, Pinned: pin == "1"})
	}
	return l, false, nil
}

// adopt brings the ids of the set into the index.
func (r *Redis) adopt(ctx context.Context) error {
	for cursor := "0"; ; {
		answer, err := adoptScript.Run(ctx, r.client, []string{r.set, r.index}, cursor, adopted, r.states, r.marks)
		if err != nil {
			return err
		}
		next, ok := answer.(string)
		if !ok {
			return unexpected(answer)
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
}
