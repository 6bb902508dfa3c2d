package readthrough

import (
	"errors"
	"fmt"

	"github.com/layercache/layercache/l2"
	"github.com/layercache/layercache/telemetry"
)

// Mirror keeps a second copy of what is in L2 for readers of another system: bare, without envelope, under keys of theirs.
// It is written and deleted in one step with the value, ends with it, and an absence has none. Its readers see no change
// later than Redis executes its invalidation, and what was read before an invalidation does not come back after it. But
// nobody tells them that Redis could not be reached, and Config.Log does not correct what they read: a copy that is wrong
// for such a reason ends with its TTL.
type Mirror[V any] struct {
	// Prefix begins the keys; the key's id follows, in which A-Z a-z 0-9 . _ : - stay and other bytes become %XX. It is the
	// same in every process that mirrors. Others may share the namespace: they delete copies, and store records without.
	Prefix string
	// Encode makes the copy. It runs without a lock. A record that it fails or panics for, or whose copy is empty or longer
	// than Config.MaxWire, is kept without a copy.
	Encode func(V) ([]byte, error)
}

// validateMirror says what is wrong with Config.Mirror.
func (c Config[K, V]) validateMirror() error {
	switch m := c.Mirror; {
	case m.Prefix == "" && m.Encode == nil:
		return nil
	case m.Prefix == "":
		return errors.New("readthrough: Config.Mirror.Prefix is required beside Encode")
	case m.Encode == nil:
		return errors.New("readthrough: Config.Mirror.Encode is required beside Prefix")
	case c.NoL2 || c.Redis == nil && c.Link == nil:
		return errors.New("readthrough: Config.Mirror is for a cache with L2")
	}
	return nil
}

// mirror makes the copy of an item on its way to L2; nil: it has none.
func (c *Cache[K, V]) mirror(it *item[V]) []byte {
	if c.cfg.Mirror.Encode == nil || it.absent {
		return nil
	}
	data, err := c.reflection(it.value)
	if err == nil && len(data) > c.limits.MaxWire {
		c.tel.Count(c.cfg.Name, telemetry.PayloadRejectedOversize, 1)
		err = fmt.Errorf("readthrough: mirror: %w", &l2.OversizeError{What: "mirror", Size: len(data), Max: c.limits.MaxWire})
	}
	if err != nil {
		c.tel.Report(c.cfg.Name, "mirror", err)
		return nil
	}
	return data
}

func (c *Cache[K, V]) reflection(v V) (data []byte, err error) {
	defer recovered(&err)
	return c.cfg.Mirror.Encode(v)
}
