-- load: a session with what is left of its time to live, which reading may re-arm. A touch is a load that is not shown.
--
-- KEYS  1 the session, a hash
-- ARGV  1 time to live in ms that it has at least from now on, 0 to leave it as it is
-- Returns {agent_id, started_at_ns, ms left, -1 for ever}   nil: there is none, or it lacks a field   0: it is no hash
-- Invariant: never makes a session, and never shortens the life of one that has an end.

local f = redis.pcall('HMGET', KEYS[1], 'agent_id', 'started_at_ns')
if f.err then
  if string.find(f.err, 'WRONGTYPE', 1, true) then return 0 end
  return f
end
if not f[1] or not f[2] then return false end
local left, least = redis.call('PTTL', KEYS[1]), tonumber(ARGV[1])
if least > 0 and left < least then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  left = least
end
-- A byte more than a field may have shows that it is too long.
return {string.sub(f[1], 1, 17), string.sub(f[2], 1, 21), left}
