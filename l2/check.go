package l2

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/redis/go-redis/v9"
)

type (
	nodeOptions    interface{ Options() *redis.Options }
	clusterOptions interface{ Options() *redis.ClusterOptions }
)

// CheckClient refuses a client with which the protocol cannot keep its promises: one that may read from replicas, one
// that hashes keys over independent servers (a Ring), one of a kind unknown here, or one that does not heed a context's
// deadline. A failover client that was told to use replicas only cannot be told apart here; its first script answers
// ErrReplica. Scripts are never retried, whatever the client's MaxRetries.
func CheckClient(client redis.UniversalClient) error {
	if v := reflect.ValueOf(client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("l2: Config.Client is required")
	}
	switch c := client.(type) {
	case nodeOptions:
		return heedsDeadlines(c.Options().ContextTimeoutEnabled)
	case clusterOptions:
		o := c.Options()
		for _, option := range []struct {
			name string
			set  bool
		}{{"ReadOnly", o.ReadOnly}, {"RouteByLatency", o.RouteByLatency}, {"RouteRandomly", o.RouteRandomly}} {
			if option.set {
				return fmt.Errorf("l2: the client may read from replicas: its option %s must be off", option.name)
			}
		}
		return heedsDeadlines(o.ContextTimeoutEnabled)
	default:
		return fmt.Errorf("l2: a client of type %T is not supported: use one for a single node, Sentinel or Cluster", client)
	}
}

func heedsDeadlines(enabled bool) error {
	if !enabled {
		return errors.New("l2: the client ignores context deadlines: set its option ContextTimeoutEnabled, or make it with l2.NewClient")
	}
	return nil
}
