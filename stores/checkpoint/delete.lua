-- Deletes a thread.
--
-- KEYS  1 state, 2 mark, 3 set of ids, 4 index
-- ARGV  1 id
-- Returns how many of state and mark there were.
--
-- In one step: nothing of it is left.
redis.call('SREM', KEYS[3], ARGV[1])
unlist(KEYS[4], ARGV[1], KEYS[2])
return redis.call('UNLINK', KEYS[1], KEYS[2])
