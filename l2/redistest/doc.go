// Package redistest gives tests a Redis of their own: an in-process one, real servers, and connections that fail.
//
//	redistest.Each(t, func(t *testing.T, client redis.UniversalClient, real bool) {
//		// runs on miniredis and on a real server
//	})
//	server := redistest.Start(t)                    // redis-server on a free loopback port
//	proxy := redistest.NewProxy(t, server.Addr())
//	client := proxy.Client()
//	proxy.Blackhole()                               // connections stay open and silent
//	redistest.Eventually(t, time.Second, "an error", func() bool { return client.Ping(ctx).Err() != nil })
//	server.Kill(); server.Restart()
//	redistest.Parrot(t, "ERR unknown %s")           // no Redis: it refuses every command and repeats it
//
// Concurrency: the types are safe for concurrent use, except that a Server is started and stopped by one goroutine.
//
// Failure: without redis-server a test that calls Start is skipped and says so, or fails with LAYERCACHE_REQUIRE_REAL=1.
// Everything ends with its test, also when the test binary is killed. It needs a Unix system with sh.
//
// It does not connect to a Redis it has not started.
package redistest
