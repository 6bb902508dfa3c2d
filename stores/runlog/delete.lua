-- Deletes a run.
-- KEYS: events, meta, ids (see append.lua).
-- ARGV: channel.
-- Returns how many keys there were.
-- Keeps: nothing of the run stays, and who follows it is told.
local n = redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.pcall('PUBLISH', ARGV[1], '0')
return n
