-- beat: a sign of life of one agent.
--
-- KEYS  1 index   2 life   3 record
-- ARGV  1 TTL in ms   2 grace in ms   3 encoded id   4 id
-- Returns 0 no such agent, 1 beaten, 2 beaten and no longer offline, -1 the record is not the agent's document
-- Invariant: what is not there stays so, and of what is there only last_heartbeat, and status where it is offline, change.

local doc = record(KEYS[3])
if not doc then
  redis.call('ZREM', KEYS[1], ARGV[3])
  return 0
end
local at = members(doc)
if not at or not whole(doc, at, ARGV[4]) then return -1 end
touch(tonumber(ARGV[2]), true)
local answer = 1
if word(doc, at, 'status') == 'offline' then
  doc = with(doc, 'status', '"available"')
  answer = 2
end
local ttl = tonumber(ARGV[1])
redis.call('SET', KEYS[3], with(doc, 'last_heartbeat', '"' .. now_text .. '"'), 'PX', ttl)
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + ttl), ARGV[3])
return answer
