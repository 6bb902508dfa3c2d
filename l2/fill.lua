-- fill: keep a loaded value, if the load's lease still stands.
--
-- KEYS  1-4 e s b a   5 d:<id>   6 l:<id>   7 the mirror, in a process that has one
-- ARGV  1-7 ensure   8 nonce of the get that gave the lease   9 value: the epoch answered by that get .. envelope
--       10 ttl in ms   11 as-of, 20 digits   12 value of the mirror, '' for none   13 what mirrors begin with, both with KEYS[7]
-- Returns {1} stored   {2} refused: another epoch   {3} refused: no such lease   {4} refused: as-of below the fence
--         {5} refused: no memory   or a refusal of ensure
-- Invariant: a value read before an invalidation of its id is not stored after it. The fence stays as long as it did.
-- A mirror is written with its value and no longer there with another one.

-- remember keeps a mirror's key at least as long as the mirror lives. Two sets take turns, so that the keys of mirrors that
-- have expired are forgotten without a clock: a set that would end before this mirror makes way for a new one.
local function remember(key, ttl)
  local set, old = beside('m'), beside('n')
  local left = redis.call('PTTL', set)
  if left < ttl then
    if left > 0 and redis.call('EXISTS', old) == 0 then redis.call('RENAME', set, old) end
    redis.call('SADD', set, key)
    redis.call('PEXPIRE', set, 2 * ttl)
  else
    redis.call('SADD', set, key)
  end
end

local state, _, refusal = ensure()
if refusal then return refusal end
if KEYS[7] and state.mirror and state.mirror ~= ARGV[13] then return {-1, 'mirror', 'another one'} end -- it may name a tenant
if string.sub(ARGV[9], 1, 32) ~= state.epoch then return {2} end

local l = redis.call('HMGET', KEYS[6], 'n', 'u', 'f')
if l[1] ~= state.epoch .. ARGV[8] or redis.call('PTTL', KEYS[6]) <= tonumber(l[2] or '0') then return {3} end

local result = 1
if l[3] and ARGV[11] < l[3] then
  result = 4
else
  local stored = redis.pcall('SET', KEYS[5], ARGV[9], 'PX', ARGV[10])
  if stored.err then
    if not string.find(stored.err, 'OOM', 1, true) then return stored end
    result = 5
  end
end

-- The lease has done its work either way; the fence has not.
if l[3] then redis.call('HDEL', KEYS[6], 'n', 'u') else redis.call('UNLINK', KEYS[6]) end

if result == 1 and KEYS[7] and ARGV[12] ~= '' then
  if not state.mirror then redis.call('HSET', KEYS[3], 'mirror', ARGV[13]) end
  remember(KEYS[7], tonumber(ARGV[10]))
  redis.call('SET', KEYS[7], ARGV[12], 'PX', ARGV[10])
elseif result == 1 and state.mirror then
  redis.call('UNLINK', mirrored(state.mirror, KEYS[5]))
end
return {result}
