-- delete: removes one agent. A key that no reader takes for one is somebody else's, and stays.
--
-- KEYS  1 index   2 record
-- ARGV  1 encoded id
-- Returns whether it was there
-- Invariant: a record and its place in the index go in one step.

redis.call('ZREM', KEYS[1], ARGV[1])
if not record(KEYS[2]) then return 0 end
return redis.call('DEL', KEYS[2])
