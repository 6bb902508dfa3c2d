-- ensure: the common beginning of every script that answers an epoch. It makes the partition's state whole before
-- anything is read from it or promised about it.
--
-- KEYS  1 e  epoch
--       2 s  invalidation counter in that epoch
--       3 b  hash: rid (replication id at birth, '' if unknown), proto, parts, enc, lease (longest B, ms),
--            mirror (what the keys of mirrors begin with, once there was one)
--       4 a  hash: process -> epoch:seq:count, '!' -> epoch (the sentinel), '!lease' -> a second copy of b's lease
--       and beside them m and n, sets of the mirrors' keys, see fill
-- ARGV  1 candidate epoch, random and never used before   2 protocol   3 partitions   4 id encoding
--       5 caller's B in ms   6 longest B in ms the caller has ever seen   7 channel
-- Returns a state {epoch, seq, lease, weak, mirror}, whether this call made the epoch, and, instead of both, a refusal:
--       {-1, field, stored value}  another configuration   {-2}  this server is a replica
-- Invariant: an epoch never outlives the loss of any key it rests on, nor a change of the replication id. Mirrors end with it.
-- The server's clock is not read, here or in any script; versions and counters never become Lua numbers.

-- beside names another key of the partition.
local function beside(name) return string.sub(KEYS[1], 1, -2) .. name end

-- mirrored names the mirror of the id in d:<id>.
local function mirrored(prefix, key) return prefix .. string.sub(key, #KEYS[1] + 2) end

-- forget deletes the mirrors: they carry no epoch by which their readers could tell that it is over. A user who may not
-- delete them leaves them to their time to live.
local function forget()
  for _, name in ipairs({'m', 'n'}) do
    local mirrors = redis.pcall('SMEMBERS', beside(name))
    for i = 1, #mirrors, 1000 do -- an error has none
      redis.pcall('UNLINK', unpack(mirrors, i, math.min(i + 999, #mirrors)))
    end
  end
  redis.call('UNLINK', beside('m'), beside('n'))
end

local function birth(rid, lease)
  -- The first write is not deny-oom, so a full Redis does not stop what follows it.
  redis.call('UNLINK', KEYS[4], KEYS[3], KEYS[2], KEYS[1])
  forget()
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('SET', KEYS[2], '0')
  redis.call('HSET', KEYS[4], '!', ARGV[1], '!lease', lease)
  redis.call('HSET', KEYS[3], 'rid', rid, 'proto', ARGV[2], 'parts', ARGV[3], 'enc', ARGV[4], 'lease', lease)
  return {epoch = ARGV[1], seq = '0', lease = lease, rid = rid}
end

-- longest answers the longest B that anybody may still hold a lease of.
local function longest(x, y)
  local max = tonumber(ARGV[6])
  if tonumber(x or '') and tonumber(x) > max then max = tonumber(x) end
  if tonumber(y or '') and tonumber(y) > max then max = tonumber(y) end
  return string.format('%d', max)
end

-- forced: the caller replaces the epoch anyway, so that a longer B than the stored one does no harm.
-- extra: one more key to read along; its value comes back in the state.
local function ensure(forced, extra)
  -- MGET takes a key of another type for a missing one; pcall does the same for the hashes.
  local es = redis.call('MGET', KEYS[1], KEYS[2], extra or KEYS[2])
  local b = redis.pcall('HMGET', KEYS[3], 'rid', 'proto', 'parts', 'enc', 'lease', 'mirror')
  local a = redis.pcall('HMGET', KEYS[4], '!', '!lease')
  local info = redis.pcall('INFO', 'replication')
  local rid = nil
  if type(info) == 'string' then
    if not string.find(info, 'role:master', 1, true) and string.find(info, 'role:slave', 1, true) then
      return nil, false, {-2}
    end
    local _, at = string.find(info, 'master_replid:', 1, true)
    if at then rid = string.sub(info, at + 1, at + 40) end
  end

  if b[2] and b[2] ~= ARGV[2] then return nil, false, {-1, 'protocol', b[2]} end
  if b[3] and b[3] ~= ARGV[3] then return nil, false, {-1, 'partitions', b[3]} end
  if b[4] and b[4] ~= ARGV[4] then return nil, false, {-1, 'encoding', b[4]} end

  local e, s = es[1], es[2]
  local counts = s and #s <= 16 and (s == '0' or string.find(s, '^[1-9]%d*$'))
  local whole = e and #e == 32 and counts and a[1] == e
    and b[1] and b[2] and b[3] and b[4] and tonumber(b[5] or '')
  local state
  if whole and not (rid and rid ~= b[1]) then
    if not forced and tonumber(ARGV[5]) > tonumber(b[5]) then return nil, false, {-1, 'lease', b[5]} end
    state = {epoch = e, seq = s, lease = b[5], rid = rid or b[1], mirror = b[6]}
  else
    state = birth(rid or '', longest(b[5], a[2]))
  end
  state.weak = rid and 0 or 1
  state.extra = es[3]
  return state, state.epoch == ARGV[1], nil
end

-- message is what receivers parse: version, flags, epoch, 20-digit seq, and a tail for the flags. flags is one byte.
-- Answers 1 if the server refused to publish it: the state is changed all the same.
local function publish(state, flags, hashes)
  local message = '\1' .. flags .. state.epoch .. string.rep('0', 20 - #state.seq) .. state.seq .. hashes
  if type(redis.pcall('PUBLISH', ARGV[7], message)) == 'number' then return 0 end
  return 1
end

