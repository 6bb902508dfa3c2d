-- get: the value, or the right to load it, in one step.
--
-- KEYS  1-4 e s b a   5 d:<id> value = epoch .. envelope   6 l:<id> hash: n epoch .. nonce, u, f fence
-- ARGV  1-7 ensure   8 nonce, '' to ask for no lease   9 lease in ms   10 '1' to refresh: lease although a value is there
--       11 longest value accepted, in bytes
-- Returns {1, epoch, seq, value, ttl ms}             hit
--         {2, epoch, seq, fence}                     lease given
--         {3, epoch, seq, fence, ms}                 busy: somebody else has the lease for that long
--         {4, epoch, seq, fence}                     miss without a lease: not asked for, or no memory for it
--         {5, epoch, seq, fence}                     as 2, and a value longer than ARGV[11] is there
--         or a refusal of ensure
-- Invariant: a value without the current epoch is a miss. Taking a lease neither shortens nor removes a fence.
-- A hit writes nothing.
--
-- A lease and a fence share one key and so one expiry, and no script reads a clock: u is what the key's PTTL
-- will be when the lease ends.

local state, _, refusal = ensure(false, KEYS[5])
if refusal then return refusal end

local oversize = false
if ARGV[10] ~= '1' and state.extra and string.sub(state.extra, 1, 32) == state.epoch then
  oversize = #state.extra > tonumber(ARGV[11])
  if not oversize then
    return {1, state.epoch, state.seq, state.extra, redis.call('PTTL', KEYS[5])}
  end
end

local l = redis.call('HMGET', KEYS[6], 'n', 'u', 'f')
local fence = l[3] or ''
if ARGV[8] == '' then return {4, state.epoch, state.seq, fence} end

-- A lease of another epoch is void: its fill would be refused.
local left = redis.call('PTTL', KEYS[6])
if l[1] and string.sub(l[1], 1, 32) == state.epoch and left > tonumber(l[2] or '0') then
  return {3, state.epoch, state.seq, fence, left - tonumber(l[2] or '0')}
end

local lease = tonumber(ARGV[9])
local ends = 0
if left > lease then ends = left - lease end
local taken = redis.pcall('HSET', KEYS[6], 'n', state.epoch .. ARGV[8], 'u', string.format('%d', ends))
if type(taken) == 'table' and taken.err then
  -- Full, unable to persist or without its replicas: the value may still be loaded, only not kept.
  if string.find(taken.err, 'OOM', 1, true) or string.find(taken.err, 'MISCONF', 1, true)
    or string.find(taken.err, 'NOREPLICAS', 1, true) then
    return {4, state.epoch, state.seq, fence}
  end
  return taken
end
if left < lease then redis.call('PEXPIRE', KEYS[6], lease) end
return {oversize and 5 or 2, state.epoch, state.seq, fence}
