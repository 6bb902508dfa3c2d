// Package stores opens the stores that agent runtimes need, from a configuration and from what the service already has.
//
//	cfg, err := stores.LoadConfig("layercache.toml") // or a Config of your own
//	if err != nil {
//		return err
//	}
//	backend, err := stores.Open(ctx, cfg) // import _ ".../stores/driver/postgres" for a postgres:// URL
//	if err != nil {
//		return err
//	}
//	defer backend.Close(ctx)
//	d, err := backend.Policies().Decide(ctx, agentID, "tool:shell")
//
// The others are Sessions, RateLimits, Agents, Threads and Runs. They share one Redis client, one bus and one database. Live
// objects are passed as options (WithRedis, WithSQL, WithTelemetry and so on); they are used and never closed.
//
// # Drivers
//
// Each kind of records has a driver, which says where they are kept: "memory", in this process, for tests and for those who
// can lose them; "redis"; "sql", for policies and agents; or one of a third party (RegisterDriver). A kind that Config does
// not name has the first of sql, redis and memory that is configured and offers it. By itself Redis is a cache, and no
// authority for policies, so it is refused for them without a database; with one, "redis" is "sql" that insists on Redis.
// With Redis configured, changes of whatever other processes can see reach them over it, and policies are cached there.
//
// The policy store, and each store whose driver Config names, is made by Open. The others are made when they are first asked
// for, which cannot fail then.
//
// # Secrets
//
// A URL, a password and a setting of a third party's driver is a Secret, which nothing prints. No form in which a Config can
// be printed or encoded, no error and no log line of this package shows one, also where a server repeats the password that it was
// sent. An address is shown, and one with an '@' refused.
//
// # Failure
//
// Open needs the database, to look after its schema, and does not need Redis: with Redis down it succeeds, policies come from
// SQL, and Health says so. What fails open and what fails closed later, each store's package says. go-redis prints failed
// dials, with the address, to its own global logger, and what a Sentinel refuses in the Sentinel's words: redis.SetLogger is the
// service's to call.
//
// # Concurrency
//
// A Backend is safe for concurrent use, Close included, and so are its stores. A store that is asked for after Close is a
// closed one.
package stores
