package sqlsource

import (
	"database/sql"
	"sync"
)

// listening are the connections on which relays listen, of all pools.
var listening = listeners{byPool: map[*sql.DB]int{}}

// listeners counts them, so that those of many tenants' relays leave at least half of a bounded pool to queries.
type listeners struct {
	mu     sync.Mutex // guards byPool
	byPool map[*sql.DB]int
}

// enter says whether one more may listen; then leave ends it.
func (l *listeners) enter(pool *sql.DB) bool {
	most := pool.Stats().MaxOpenConnections // 0: any number
	l.mu.Lock()
	defer l.mu.Unlock()
	if most > 0 && 2*(l.byPool[pool]+1) > most {
		return false
	}
	l.byPool[pool]++
	return true
}

func (l *listeners) leave(pool *sql.DB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byPool[pool]--; l.byPool[pool] == 0 {
		delete(l.byPool, pool)
	}
}
