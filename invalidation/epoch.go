package invalidation

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/layercache/layercache/l2"
)

// Epoch implements Bus: it asks Redis, and not what this process remembers.
func (b *Redis) Epoch(ctx context.Context) (string, error) {
	now := map[int]l2.Epoch{}
	for i := range b.parts {
		reply, err := b.store.Acks(ctx, i, l2.Position{}, b.process, nil)
		if err != nil {
			return "", fmt.Errorf("invalidation: epoch: %w", err)
		}
		b.parts[i].observe(reply.Position.Epoch)
		now[i] = reply.Position.Epoch
	}
	return b.epochs(now), nil
}

// epochs names the lives of all partitions, as known and as remembered for those that are not.
func (b *Redis) epochs(known map[int]l2.Epoch) string {
	var text strings.Builder
	for i, p := range b.parts {
		epoch, ok := known[i]
		if !ok {
			epoch = p.position().Epoch
		}
		text.WriteString(strconv.Itoa(i) + ":" + string(epoch) + ";")
	}
	return text.String()
}

// Epoch implements Bus: a namespace without Redis has one life.
func (b *Member) Epoch(context.Context) (string, error) { return b.epochs(nil), nil }

func (b *Member) epochs(map[int]l2.Epoch) string { return string(b.space.epoch) }
