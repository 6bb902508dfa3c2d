-- acks: who has not yet applied an invalidation? With somebody left, ask them.
--
-- KEYS  1-4 e s b a
-- ARGV  1-7 ensure   8 epoch   9 seq, 20 digits   10 the asking process   11 flags of an ack request
--       12… pairs process, registration: deleted if unchanged
-- Returns {1, epoch, seq, longest lease ms, 1 if the ack request could not be published, {process, registration, …}}
--         with nobody listed if the epoch is another one   or a refusal of ensure
-- Invariant: a process is left out only if it registered this epoch and this seq or a later one.

local state, _, refusal = ensure()
if refusal then return refusal end

for i = 12, #ARGV, 2 do
  if redis.call('HGET', KEYS[4], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[4], ARGV[i]) end
end

local laggards, refused = {}, 0
if state.epoch == ARGV[8] then
  local all = redis.call('HGETALL', KEYS[4])
  for i = 1, #all, 2 do
    local process, registered = all[i], all[i + 1]
    if string.sub(process, 1, 1) ~= '!' and process ~= ARGV[10] then
      local applied = string.sub(registered, 1, 33) == state.epoch .. ':' and string.sub(registered, 34, 53) >= ARGV[9]
      if not applied then
        laggards[#laggards + 1] = process
        laggards[#laggards + 1] = registered
      end
    end
  end
  if #laggards > 0 then refused = publish(state, ARGV[11], '') end
end
return {1, state.epoch, state.seq, state.lease, refused, laggards}
