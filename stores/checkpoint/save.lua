-- Saves a thread, if it has the version that is asked for. The state is not an argument: Lua would copy it, which for 100 KiB
-- takes twice as long as all else. It is a key of its own that was written just before, and is renamed.
--
-- KEYS  1 state, 2 mark, 3 set of ids, 4 index, 5 new state
-- ARGV  1 length of the new state, 2 id, 3 TTL in ms ('0': none); to save on a condition only: 4 expected version: '0' no thread,
--       decimal, or 'd' and 15 hex digits of the state's SHA-1, 5 '1': others write too, so that a version is always such digits
-- Returns the new version; or 'is ' and the current version, having changed nothing of the thread. Fails, having changed nothing,
-- if there is no new state to put in place.
--
-- In one step: state, mark, set, index and end change together. RENAME is the first write, since it fails where there is no new
-- state, and since it gives memory back: a full Redis refuses the new state before, and then nothing here. A save that makes the
-- index longer looks at four ids in it and drops the dead, so that the index cannot only grow: it is expected to shrink while more
-- than a quarter of it is dead. One in a hundred of the others looks at ten, so that the dead leave it also where no thread is new.
local exists = redis.call('EXISTS', KEYS[1]) == 1
local version, length, pin = mark_of(KEYS[2])
if not exists then pin = '0' end

if ARGV[4] then
  local current = version
  if not exists then
    current = '0'
  elseif ARGV[5] == '1' or string.sub(ARGV[4], 1, 1) == 'd' or version == '0' or redis.call('STRLEN', KEYS[1]) ~= length then
    current = 'd' .. string.sub(redis.sha1hex(redis.call('GET', KEYS[1])), 1, 15)
  end
  if current ~= ARGV[4] then
    redis.call('UNLINK', KEYS[5])
    return 'is ' .. current
  end
end

local order = next_order(KEYS[4], version)
local mark = order .. ' ' .. ARGV[1] .. ' ' .. pin
redis.call('RENAME', KEYS[5], KEYS[1])
if ARGV[3] == '0' or pin == '1' then
  redis.call('PERSIST', KEYS[1])
  redis.call('SET', KEYS[2], mark)
else
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('SET', KEYS[2], mark, 'PX', ARGV[3])
end
local longer = redis.call('ZADD', KEYS[4], order, ARGV[2]) == 1
if longer or not exists then redis.call('SADD', KEYS[3], ARGV[2]) end
local look = longer and 4 or string.sub(order, -2) == '00' and 10 or 0
if look > 0 then
  local name = name_of(ARGV[2])
  local states, marks = string.sub(KEYS[1], 1, -#name - 1), string.sub(KEYS[2], 1, -#name - 1)
  for _, id in ipairs(redis.call('ZRANDMEMBER', KEYS[4], look)) do
    pcall(dead, KEYS[3], KEYS[4], states, marks, id) -- the thread is saved, also where the slot moves and others are not here
  end
end
return order
