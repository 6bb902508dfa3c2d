-- Reads a part of a run.
-- KEYS: events, meta (see append.lua).
-- ARGV: the first seq wanted, how many at most, how many bytes after which no more are read.
-- Returns life, seq, session as JSON or '', end or '', ms until the run goes; then for each entry its stream id and what content_of
--   says. An empty list: there is no such run. 'damaged': there are events and nothing else.
-- Keeps: the facts and the entries are of one moment. It reads no entry before that of the first event wanted, and of those that it
--   does not answer, less than MOST: how long an entry is shows when it has been read.
local m = redis.call('HMGET', KEYS[2], 'life', 'seq', 'session', 'end')
if not m[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return {'damaged'} end
  return {}
end
local reply = {m[1], m[2], m[3] or '', m[4] or '', tostring(redis.call('PTTL', KEYS[2]))}
local from, left, room = ARGV[1] .. '-0', tonumber(ARGV[2]), tonumber(ARGV[3])
local first, MOST = tonumber(ARGV[1]), 16 -- entries at once
local step, longest, most = 2, 1, 1
while left > 0 and room > 0 do
  local count = math.min(math.ceil(left / most), step)
  local page = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', count)
  for _, entry in ipairs(page) do
    local content, n, size = content_of(entry[2])
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = content
    if n > 1 then n = math.min(n, tonumber(string.match(entry[1], '^%d+')) - first + 1) end -- the first events may be unwanted
    room, left = room - size, left - n
    longest, most = math.max(longest, size), n
    if left <= 0 or room <= 0 then break end
  end
  if #page < count then break end
  step = math.min(MOST, 2 * step, math.floor(math.max(room, 0) / longest) + 1)
  local ms, n = string.match(page[#page][1], '^(%d+)%-(%d+)$')
  from = ms .. '-' .. string.format('%.0f', tonumber(n) + 1)
end
return reply
