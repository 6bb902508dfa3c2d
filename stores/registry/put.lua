-- put: stores an agent.
--
-- KEYS  1 index: sorted set, encoded id -> ms when the record ends, 9e15 if it never does;
--         '!' at +inf: the index is whole; '?' and a word at -inf: a scan to make it whole is under way
--       2 life   3 record
-- ARGV  1 document   2 its last_heartbeat in ms since 1970, '' for none   3 TTL in ms   4 grace in ms   5 encoded id
--       6 prefix of records
-- Returns the text of last_heartbeat if it was set here, else '', and whether the index needs to be made whole first by
--       somebody: 1 for the first who writes to one that is not
-- Invariant: a record and its place in the index are written in one step.

local ttl = tonumber(ARGV[3])
touch(tonumber(ARGV[4]), true)

local doc, stamped = ARGV[1], ''
local beat = tonumber(ARGV[2])
if not beat or beat > now_ms then
  stamped = now_text
  doc = with(doc, 'last_heartbeat', '"' .. stamped .. '"')
end
redis.call('SET', KEYS[3], doc, 'PX', ttl)

local first = redis.call('EXISTS', KEYS[1]) == 0 and 1 or 0
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + ttl), ARGV[5])

-- What has ended leaves the index also where nobody ever lists, but not while the slot moves: then what is still to come looks so.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms), 'LIMIT', 0, 8)
if #due > 0 and type(redis.pcall('EXISTS', ARGV[6] .. '!', ARGV[6] .. '?')) == 'table' then due = {} end
for _, id in ipairs(due) do
  local left = redis.call('PTTL', ARGV[6] .. id)
  if left == -2 then
    redis.call('ZREM', KEYS[1], id)
  else
    redis.call('ZADD', KEYS[1], string.format('%.0f', left < 0 and 9000000000000000 or now_ms + left), id)
  end
end
return {stamped, first}
