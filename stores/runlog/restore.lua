-- Adds entries of an original run under their own numbers, all of them or none.
-- KEYS: events, meta, ids (see append.lua).
-- ARGV: channel, life if the run is new, max age ms, ms to keep after the end, session as JSON or '', the last number the
--   original has spent or '0', the last number that was restored before or '0'; then for each entry, by rising seq: seq, id,
--   '1' if terminal or '0', envelope.
-- Returns 'ok', life, seq, session as JSON or '', end or ''; then the seq of each entry that was added. Or, with nothing
--   written: 'conflict' (there are other entries under these numbers), 'restarted' (what was restored before is not all there),
--   'damaged'.
-- Keeps: what append.lua keeps, but numbers may be left out. An id that occurs again has its number appended in ids, so that
--   the first entry is the one that is found.
local events, meta, ids = KEYS[1], KEYS[2], KEYS[3]
local FIXED, EACH = 7, 4
local m = redis.call('HMGET', meta, 'life', 'seq', 'session', 'end', 'mark', 'last', 'marks', 'packed')
local life, seq, session, ended = m[1], tonumber(m[2] or '0'), m[3], m[4]
local length = redis.call('XLEN', events)
if redis.call('ZCARD', ids) ~= length + tonumber(m[8] or '0') or (not life and length > 0) then return {'damaged'} end
if seq < tonumber(ARGV[7]) then return {'restarted'} end

local oldest = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
if oldest then
  local _, events_in_it = content_of(oldest[2])
  oldest = tonumber(string.match(oldest[1], '^%d+')) - events_in_it + 1
else
  oldest = seq + 1
end
local function number_of(name, id) -- of the event that ids has under a name
  local entry = redis.call('ZSCORE', ids, name)
  if not entry then return nil end
  entry = string.format('%.0f', tonumber(entry))
  local fields = fields_of(events, entry)
  return fields and (seq_of(fields, entry, id))
end
local n = (#ARGV - FIXED) / EACH
local from = n + 1 -- the first entry that is new
for i = 1, n do
  local arg = FIXED + (i - 1) * EACH
  local number = tonumber(ARGV[arg + 1])
  if number > seq then
    from = i
    break
  end
  if number >= oldest then
    local digits, id = string.format('%.0f', number), ARGV[arg + 2]
    if number_of(id, id) ~= digits and number_of(id .. ARGV[arg + 1], id) ~= digits then return {'conflict'} end
  end
end

local reply, over, before = {'ok', life or ARGV[2]}, false, seq
if not session and ARGV[5] ~= '' then session = ARGV[5] end
for i = from, n do
  local arg = FIXED + (i - 1) * EACH
  local digits, id = ARGV[arg + 1], ARGV[arg + 2]
  local added = redis.pcall('XADD', events, digits .. '-0', 'data', ARGV[arg + 4])
  if added.err then
    if string.find(added.err, 'equal or smaller', 1, true) then return {'damaged'} end
    return added
  end
  if redis.call('ZSCORE', ids, id) then id = id .. digits end
  redis.call('ZADD', ids, digits, id)
  seq = tonumber(digits)
  if ARGV[arg + 3] == '1' and not ended then ended, over = digits, true end
  reply[#reply + 1] = digits
end
if tonumber(ARGV[6]) > seq then seq = tonumber(ARGV[6]) end
local digits = string.format('%.0f', seq)
table.insert(reply, 3, digits)
table.insert(reply, 4, session or '')
table.insert(reply, 5, ended or '')
if seq == before and (life or n == 0) and (session or '') == (m[3] or '') then return reply end

local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stamp = string.format('%.0f', ms)
local facts = {'life', reply[2], 'seq', digits, 'last', digits .. ':' .. stamp} -- the age of these counts from now
local mark = tonumber(m[5] or '0')
if ms - mark >= tonumber(ARGV[3]) / 16 or mark > ms then
  facts[7], facts[8], facts[9], facts[10] = 'mark', stamp, 'marks', (m[7] or '') .. ' ' .. (m[6] or '')
end
if session then
  facts[#facts + 1] = 'session'
  facts[#facts + 1] = session
end
if over then
  facts[#facts + 1] = 'end'
  facts[#facts + 1] = ended
end
redis.call('HSET', meta, unpack(facts))
local expiry = string.format('%.0f', ms + tonumber(ended and ARGV[4] or ARGV[3]))
redis.call('PEXPIREAT', events, expiry)
redis.call('PEXPIREAT', meta, expiry)
redis.call('PEXPIREAT', ids, expiry)
redis.pcall('PUBLISH', ARGV[1], digits)
return reply
