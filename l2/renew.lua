-- renew: register what this process has applied and answer where the partition stands.
--
-- KEYS  1-4 e s b a
-- ARGV  1-7 ensure   8 process   9 client's epoch:applied seq:count
-- Returns {1, epoch, seq, longest lease ms, 1 if the replication id is unknown}   or a refusal of ensure
-- Invariant: the registration names the epoch the client knows, never the server's own.

-- Deleted first: it is not deny-oom, so that the registration below passes on a full Redis.
redis.pcall('HDEL', KEYS[4], ARGV[8])
local state, _, refusal = ensure()
if refusal then return refusal end
redis.call('HSET', KEYS[4], ARGV[8], ARGV[9])
return {1, state.epoch, state.seq, state.lease, state.weak}
