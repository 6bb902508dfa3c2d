-- save: make a session of this record, for so long.
--
-- KEYS  1 the session, a hash
-- ARGV  1 agent_id, 16 raw bytes   2 started_at_ns   3 time to live in ms
-- Returns 1
-- Invariant: no session is ever without a time to live. Fields that other programs added stay, as they do when those
-- programs save; what is no hash makes way.

local saved = redis.pcall('HSET', KEYS[1], 'agent_id', ARGV[1], 'started_at_ns', ARGV[2])
if type(saved) == 'table' and saved.err then
  if not string.find(saved.err, 'WRONGTYPE', 1, true) then return saved end
  redis.call('UNLINK', KEYS[1])
  redis.call('HSET', KEYS[1], 'agent_id', ARGV[1], 'started_at_ns', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
