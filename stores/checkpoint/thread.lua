-- What the scripts share. A thread is four things: its state <head>thread:<name>, its mark <head>thread.mark:<name>, its id
-- in the set of ids, which the original system reads, and its id in the index, whose scores are the order of the saves.
--
-- A mark is '<version> <length of the state> <1: pinned>' and lives as long as the state. It counts for nothing without a
-- state, and its version for nothing if the state has another length: then somebody else wrote the state. But its version was given:
-- the thread gets only higher ones. An id that is in the set or the index without a state is a dead one, and is dropped by
-- whoever meets it. Where the server's clock was set back, an order can lie before it: what is dropped then leaves its order, or its
-- mark's version if that is higher, in the index under the id '', which no thread has, until the clock has passed it. So no order is
-- given twice.

-- name_of is the last part of an id's keys, as layout.Space makes it.
local function name_of(id)
  return (string.gsub(id, '[^A-Za-z0-9._:%-]', function(c) return string.format('%%%02X', string.byte(c)) end))
end

-- mark_of answers version ('0': none), length and pin of a live thread; of another only the version means anything. Where the mark
-- is not one of KEYS, none may be one that is still to come: see here.
local function mark_of(key)
  local mark = redis.pcall('GET', key) -- an error where it is no string
  local version, length, pin = string.match(type(mark) == 'string' and mark or '', '^(%d+) (%d+) ([01])$')
  if not version or #version > 16 or #length > 15 or tonumber(version) >= 2^53 then return '0', -1, '0' end -- not ours
  return version, tonumber(length), pin
end

-- now_us is the server's Unix time in microseconds, as text.
local function now_us()
  local time = redis.call('TIME')
  local us = time[2]
  if #us < 6 then us = string.sub('00000' .. us, -6) end
  return time[1] .. us
end

-- unlist takes an id out of the index. The mark may know a higher order than an index that was lost.
local function unlist(index, id, mark)
  local order = math.max(tonumber(redis.call('ZSCORE', index, id) or 0), tonumber((mark_of(mark))))
  redis.call('ZREM', index, id)
  if order >= tonumber(now_us()) then redis.call('ZADD', index, 'GT', string.format('%.0f', order), '') end
end

-- here says whether there is a key that is not one of KEYS. A node of a Cluster that a slot moves to has no key that is still to
-- come, and says so; a command with two keys it refuses then. So what is missing is asked for again beside another key, and fails.
local function here(key)
  if redis.call('EXISTS', key) == 1 then return true end
  redis.call('EXISTS', key, key .. '!')
  return false
end

-- dead says whether an id has no state, and then drops it. The set keeps an id that has a state under a name of the original
-- system's, which encodes nothing: we cannot read that one, but it is alive. While the slot moves it fails.
local function dead(set, index, states, marks, id)
  if id == '' then
    local order = redis.call('ZSCORE', index, '')
    if order and tonumber(order) < tonumber(now_us()) then redis.call('ZREM', index, '') end
    if not here(states) then redis.call('SREM', set, '') end -- of the original system, which accepts it
    return true
  end
  local name = name_of(id)
  if here(states .. name) then return false end
  unlist(index, id, marks .. name)
  redis.call('UNLINK', marks .. name)
  if name == id or redis.call('EXISTS', states .. id) == 0 then redis.call('SREM', set, id) end
  return true
end

-- next_order is above a version and above every order in the index: the server's time, or one more than the highest. It is text,
-- and put together from text, as Lua is slow to print a number; as one it is exact until the year 2255.
local function next_order(index, version)
  local now = now_us()
  if tonumber(version) < tonumber(now) and redis.call('ZCOUNT', index, now, '+inf') == 0 then return now end
  local top = redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2]
  return string.format('%.0f', math.max(tonumber(version), tonumber(top or 0)) + 1)
end
