-- delete: removes one agent.
--
-- KEYS  1 index   2 record
-- ARGV  1 encoded id
-- Returns whether it was there
-- Invariant: a record and its place in the index go in one step.

redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
