-- Reads what is known of a thread beside its state, which is read by a command of its own in the same transaction: Lua would
-- copy it.
--
-- KEYS  1 state, 2 mark
-- ARGV  1 TTL in ms that it gets by being read ('0': it keeps its own); from a full Redis, where no transaction begins: 2 how many
--       bytes of the state are read here all the same, less one
-- Returns nil without a thread, or {length of the state, version, length by the mark, PTTL, and the state if it was asked for}.
--
-- In one step: a thread that has no end does not get one by being read. One that is pinned has an end if another program saved it
-- with one, and is kept by being read like any other. One that cannot be given its TTL, since the server refuses every write, is read
-- all the same.
local left = redis.call('PTTL', KEYS[1])
if left == -2 then return false end
local version, length = mark_of(KEYS[2])
if ARGV[1] ~= '0' and left >= 0 then
  if redis.pcall('PEXPIRE', KEYS[1], ARGV[1]) == 1 then
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
    left = tonumber(ARGV[1])
  end
end
return {redis.call('STRLEN', KEYS[1]), version, length, left, ARGV[2] and redis.call('GETRANGE', KEYS[1], 0, ARGV[2])}
