-- invalidate: from here on no older value of these ids is read from L2 or stored in it, and everybody is told.
--
-- KEYS  1-4 e s b a   then n times d:<id>, then n mirrors in a process that has them, then n times l:<id>
-- ARGV  1-7 ensure   8 as-of, 20 digits   9 life of a fence in ms, longer than any load may last
--       10 flags of the message, one byte   11 what follows its seq: time of sending, then 8 bytes per id unless all are meant
--       12 what mirrors begin with, in a process that has them
-- Returns {1, epoch, seq, 1 if the message could not be published, longest lease ms}   or a refusal of ensure
-- Invariant: values and mirrors go before the counter moves. Fences only rise and only live longer.

local n = (#KEYS - 4) / (ARGV[12] and 3 or 2)

-- The first write is not deny-oom, so an invalidation passes on a full Redis.
redis.call('UNLINK', unpack(KEYS, 5, #KEYS - n))
local state, _, refusal = ensure()
if refusal then return refusal end

if state.mirror and state.mirror ~= ARGV[12] then -- other processes have them
  for i = 5, 4 + n do redis.call('UNLINK', mirrored(state.mirror, KEYS[i])) end
end
for i = #KEYS - n + 1, #KEYS do
  local fence = redis.call('HGET', KEYS[i], 'f')
  if ARGV[8] ~= '00000000000000000000' then
    if not fence or fence < ARGV[8] then redis.call('HSET', KEYS[i], 'f', ARGV[8]) end
    redis.call('HDEL', KEYS[i], 'n', 'u')
    if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[9]) then redis.call('PEXPIRE', KEYS[i], ARGV[9]) end
  elseif fence then
    redis.call('HDEL', KEYS[i], 'n', 'u')
  else
    redis.call('UNLINK', KEYS[i])
  end
end

redis.call('INCR', KEYS[2])
state.seq = redis.call('GET', KEYS[2]) -- read back as text: INCR's own answer is a Lua number
return {1, state.epoch, state.seq, publish(state, ARGV[10], ARGV[11]), state.lease}
