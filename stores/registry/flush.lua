-- flush: removes every agent of the registry.
--
-- KEYS  1 index
-- ARGV  1 prefix of records
-- Returns 1, or 0 if the index is not whole and nothing was removed
-- Invariant: records and index go in one step, and no other key does. It fails while the slot moves: a record that is still
--       to come would outlive its place in the index.

if not redis.call('ZSCORE', KEYS[1], '!') then return 0 end
redis.call('EXISTS', ARGV[1] .. '!', ARGV[1] .. '?') -- a node refuses this while it is so
local keys = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if not string.find(id, '[^A-Za-z0-9._:%%-]') then keys[#keys + 1] = ARGV[1] .. id end -- else a word of the index
end
local chunk = 1000
for from = 1, #keys, chunk do
  redis.call('UNLINK', unpack(keys, from, math.min(from + chunk - 1, #keys)))
end
redis.call('UNLINK', KEYS[1])
redis.call('ZADD', KEYS[1], '+inf', '!')
return 1
