package registry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/stores/layout"
)

// wholeTries is how often the index may be lost while it is made whole.
const wholeTries = 4

var errNotWhole = layout.Unavailable(errors.New("the index of the agents is lost again and again"))

// record is an agent's record as Redis holds it.
type record struct {
	encoded string // its id in the key
	doc     string
}

// read reads the record into a zero Agent. One whose document names another agent is faulty.
func (r record) read(a *Agent) error {
	if err := a.decode(r.doc); err != nil {
		return err
	}
	if id, err := l2.NewID(a.ID); err != nil || id.String() != r.encoded {
		return errFaulty
	}
	return nil
}

// id is the inverse of l2.NewID. A key of another program need not be of that form.
func (r record) id() string {
	if id, err := url.PathUnescape(r.encoded); err == nil {
		return id
	}
	return r.encoded
}

// heartbeat is the text of the agent's last heartbeat, for reap.lua to compare; "" if it never had one.
func (r record) heartbeat(a Agent) (text string) {
	if a.LastHeartbeat.IsZero() {
		return ""
	}
	_ = members(r.doc, func(_, name, value, _ string) error { // it was read before
		if name == "last_heartbeat" {
			text = value
		}
		return nil
	})
	return text
}

// reply is what list.lua answers.
type reply struct {
	whole bool
	now   time.Time
	lasts time.Duration
	docs  []record
}

// list reads the index and the records in one round trip, once the index is whole. Where a scan is asked for, which finds what
// other programs wrote, one goes before.
func (r *Redis) list(ctx context.Context, scan bool) (reply, error) {
	if scan {
		return r.scanned(ctx)
	}
	for range wholeTries {
		if !r.unsorted.Load() {
			if answer, ok, err := r.fetch(ctx); ok || err != nil {
				return answer, err
			}
		}
		answer, err := r.look(ctx, word(), nil)
		if err != nil || answer.whole {
			return answer, err
		}
		if err := r.mend(ctx); err != nil {
			return reply{}, err
		}
	}
	return reply{}, errNotWhole
}

// look runs list.lua once.
func (r *Redis) look(ctx context.Context, mark string, found []string) (reply, error) {
	args := make([]any, 2, 2+len(found))
	args[0], args[1] = r.records, mark
	for _, encoded := range found {
		args = append(args, encoded)
	}
	out, err := listScript.Run(ctx, r.client, []string{r.index}, args...)
	if err != nil {
		return reply{}, err
	}
	return parseReply(out)
}

// scanned reads the index and the records after a scan of the keyspace, and makes the index whole if it is not.
func (r *Redis) scanned(ctx context.Context) (reply, error) {
	mark := word()
	for range wholeTries {
		found, err := r.scan(ctx)
		if err != nil {
			return reply{}, layout.Failed(ctx, err)
		}
		answer, err := r.look(ctx, mark, found) // if the index is not whole, the next scan begins with the mark in it
		if err != nil || answer.whole {
			return answer, err
		}
	}
	return reply{}, errNotWhole
}

// mending is a scan that makes the index whole.
type mending struct {
	done chan struct{} // closed when err is set
	err  error
}

// mendTime bounds the scans that make an index whole, of which a million keys take a second or two.
const mendTime = time.Minute

// mend makes the index whole. All calls share one scan, which goes on when they have left: each would end with its caller before
// it was through where the keyspace is large, and no list would ever be answered.
func (r *Redis) mend(ctx context.Context) error {
	r.mu.Lock()
	m := r.mending
	if m == nil {
		m = &mending{done: make(chan struct{})}
		r.mending = m
		go func() { // ends with the scans, or mendTime
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mendTime)
			defer cancel()
			_, m.err = r.scanned(ctx)
			r.mu.Lock()
			r.mending = nil
			r.mu.Unlock()
			close(m.done)
		}()
	}
	r.mu.Unlock()
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return layout.Failed(ctx, fmt.Errorf("the keyspace is being scanned, to make the index of the agents whole: %w", ctx.Err()))
	}
}

// fetch reads all records by SORT with GET, which costs the server a fifth of what a script does that reads them. It
// says false where the script must look: some record has ended, the index is not whole, or the server refuses. It is not
// asked again if it refuses SORT itself: on a Cluster, to users without the right to read every key, or because it does not
// know the command. Another refusal is one of the moment.
func (r *Redis) fetch(ctx context.Context) (answer reply, ok bool, err error) {
	var now *redis.TimeCmd
	var first *redis.ZSliceCmd
	var all *redis.StringSliceCmd
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		now = p.Time(ctx)
		first = p.ZRangeByScoreWithScores(ctx, r.index, &redis.ZRangeBy{Min: "0", Max: "(" + never, Count: 1})
		all = p.Sort(ctx, r.index, &redis.Sort{By: "nosort", Get: []string{"#", r.records + "*"}})
		return nil
	})
	var refused redis.Error
	switch {
	case err != nil && errors.As(err, &refused):
		if why := all.Err(); why != nil {
			text := why.Error()
			r.unsorted.Store(redis.HasErrorPrefix(why, "NOPERM") || strings.Contains(text, "unknown command") || strings.Contains(text, "of SORT denied"))
		}
		return reply{}, false, nil
	case err != nil:
		return reply{}, false, layout.Failed(ctx, err)
	}
	answer.now = now.Val()
	if soonest := first.Val(); len(soonest) > 0 {
		left := int64(soonest[0].Score) - answer.now.UnixMilli()
		if left <= 0 {
			return reply{}, false, nil
		}
		answer.lasts = time.Duration(left) * time.Millisecond
	}
	flat := all.Val()
	answer.docs = make([]record, 0, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		switch encoded := flat[i]; {
		case encoded == "!":
			answer.whole = true
		case isEncoded(encoded) && flat[i+1] != "": // "": it is gone, evicted or removed by another program
			answer.docs = append(answer.docs, record{encoded, flat[i+1]})
		}
	}
	return answer, answer.whole, nil
}

// never is the score of what does not end by itself.
const never = "9000000000000000"

// scan finds the records that there are, by the encoded ids. None of its bytes is a glob: neither prefix nor tenant may
// hold one. The first of the answer is empty: it says that there was a scan.
func (r *Redis) scan(ctx context.Context) ([]string, error) {
	var node redis.Cmdable = r.client
	if cluster, ok := r.client.(*redis.ClusterClient); ok {
		var err error
		if node, err = r.owner(ctx, cluster); err != nil { // Tagged: all of them are there
			return nil, err
		}
	}
	found := []string{""}
	for cursor := uint64(0); ; {
		keys, next, err := node.Scan(ctx, cursor, r.records+"*", 1000).Result()
		if err != nil {
			return nil, err
		}
		for _, key := range keys {
			// What is no id of ours is nobody's record, and might be one of the index's own words, or break its answers.
			if encoded := strings.TrimPrefix(key, r.records); isEncoded(encoded) {
				found = append(found, encoded)
			}
		}
		if cursor = next; cursor == 0 {
			return found, nil
		}
	}
}

// owner is the server of a Cluster that has the agents. The client may not have heard yet that it is another one: a scan of the
// one before finds none.
func (r *Redis) owner(ctx context.Context, cluster *redis.ClusterClient) (node *redis.Client, err error) {
	for range 2 {
		if node, err = cluster.MasterForKey(ctx, r.index); err != nil {
			return nil, err
		}
		if err = node.Exists(ctx, r.index).Err(); !redis.HasErrorPrefix(err, "MOVED") {
			break
		}
		// This reads anew who has which slot; to be told by MOVED does so some time later.
		_ = cluster.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
	}
	if redis.HasErrorPrefix(err, "ASK") {
		err = nil // it has the slot, which moves away, and the index no more
	}
	return node, err
}

// isEncoded says whether a text is made of what encoded ids are made of.
func isEncoded(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("._:-%", c) < 0 {
			return false
		}
	}
	return s != ""
}

func parseReply(out any) (reply, error) {
	list, ok := out.([]any)
	if !ok || len(list) != 6 {
		return reply{}, errAnswer
	}
	whole, ok1 := list[0].(int64)
	s, ok2 := list[1].(string)
	us, ok3 := list[2].(string)
	lasts, ok4 := list[3].(int64)
	ids, ok5 := list[4].(string)
	docs, ok6 := list[5].(string)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 {
		return reply{}, errAnswer
	}
	seconds, err1 := strconv.ParseInt(s, 10, 64)
	micros, err2 := strconv.ParseInt(us, 10, 64)
	if err1 != nil || err2 != nil {
		return reply{}, errAnswer
	}
	n := strings.Count(ids, "\n")
	if strings.Count(docs, "\x00") != n {
		return reply{}, errAnswer
	}
	answer := reply{whole: whole == 1, now: time.Unix(seconds, micros*1000), docs: make([]record, n)}
	if lasts >= 0 {
		answer.lasts = max(time.Duration(lasts)*time.Millisecond, time.Nanosecond)
	}
	for i := range answer.docs {
		answer.docs[i].encoded, ids, _ = strings.Cut(ids, "\n")
		answer.docs[i].doc, docs, _ = strings.Cut(docs, "\x00")
	}
	return answer, nil
}
