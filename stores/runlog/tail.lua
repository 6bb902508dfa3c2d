-- Reads the last entry of a run.
-- KEYS: events, meta (see append.lua).
-- Returns what list.lua does.
-- Keeps: the facts and the entry are of one moment.
local m = redis.call('HMGET', KEYS[2], 'life', 'seq', 'session', 'end')
if not m[1] then
  if redis.call('EXISTS', KEYS[1]) == 1 then return {'damaged'} end
  return {}
end
local reply = {m[1], m[2], m[3] or '', m[4] or '', tostring(redis.call('PTTL', KEYS[2]))}
local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if entry then
  reply[6], reply[7] = entry[1], (content_of(entry[2]))
end
return reply
