package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// Idle gives a client n connections that are ready for use. Behind a proxy that has gone silent a client that repeats a command
// would make a new one and never come to send anything on it.
func Idle(t testing.TB, client *redis.Client, n int) {
	t.Helper()
	conns := make([]*redis.Conn, n)
	for i := range conns {
		conns[i] = client.Conn()
		if err := conns[i].Ping(t.Context()).Err(); err != nil {
			t.Fatalf("redistest: idle connections: %v", err)
		}
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Fatalf("redistest: idle connections: %v", err)
		}
	}
}
