-- leave: delete the registration of a process that has stopped serving.
--
-- KEYS  1-4 e s b a
-- ARGV  1-7 ensure   8 process   9 the registration it made last
-- Returns {1}
-- Invariant: touches this process's field alone, and not if the process has registered again since. It answers no epoch, so it neither needs nor makes one: what it finds
-- missing, the next script finds missing too.

if redis.call('HGET', KEYS[4], ARGV[8]) == ARGV[9] then redis.call('HDEL', KEYS[4], ARGV[8]) end
return {1}
