-- reap: marks agents offline that list has shown to be silent.
--
-- KEYS  1 index   2 life
-- ARGV  1 prefix of records   2 silence in ms   3 grace in ms   4… encoded id, and its last_heartbeat as it was written,
--       '' for an agent that never had one
-- Returns the encoded ids newly offline
-- Invariant: an agent that was heard of since it was listed is not marked, and nobody is before silence has passed in this
--       life. A heartbeat that there never was is taken for one now. The TTL goes on.

local since = touch(tonumber(ARGV[3]), false, replid())
local settled = now_ms - since >= tonumber(ARGV[2])
local marked = {}
for i = 4, #ARGV, 2 do
  local key = ARGV[1] .. ARGV[i]
  local doc = record(key)
  local at = members(doc)
  if at then
    local beat = raw(doc, at, 'last_heartbeat') or ''
    if ARGV[i + 1] == '' then
      if beat == '' or beat == 'null' or string.find(beat, '^"0001%-01%-01T00:00:00') then
        redis.call('SET', key, with(doc, 'last_heartbeat', '"' .. now_text .. '"'), 'KEEPTTL')
      end
    elseif settled and beat == ARGV[i + 1] and word(doc, at, 'status') ~= 'offline' then
      redis.call('SET', key, with(doc, 'status', '"offline"'), 'KEEPTTL')
      marked[#marked + 1] = ARGV[i]
    end
  end
end
return marked
