-- life: since when this server has been in contact with the agents, so that nobody is marked offline for a silence that
-- was the server's own. life.go is the same rule in memory.
--
-- KEYS[2] hash: rid (replication id, '' if unknown), since (ms), contact (ms, of the last sign of anybody), beaten (1: there
--         was a heartbeat in this life)
-- Needs clock.

local function replid()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '' end
  local _, at = string.find(info, 'master_replid:', 1, true)
  return at and string.sub(info, at + 1, at + 40) or ''
end

-- touch counts a contact and answers since. A new life begins with a new key; with another replication id, where one is
-- given; and, with a grace, after a silence of everybody for longer than that. If nobody has beaten in this life, such a
-- silence counts as no more than grace.
local function touch(grace, beat, rid)
  local l = redis.call('HMGET', KEYS[2], 'rid', 'since', 'contact', 'beaten')
  local since, contact, beaten = tonumber(l[2] or ''), tonumber(l[3] or ''), l[4] == '1'
  local gap = contact and now_ms - contact
  if not since or not gap or (grace > 0 and (gap < -grace or (gap > grace and beaten))) or (rid and rid ~= l[1]) then
    since, beaten = now_ms, false
    redis.call('HSET', KEYS[2], 'rid', rid or replid(), 'since', string.format('%.0f', since))
  elseif grace > 0 and gap > grace then
    since = since + gap - grace
    redis.call('HSET', KEYS[2], 'since', string.format('%.0f', since))
  end
  redis.call('HSET', KEYS[2], 'contact', string.format('%.0f', now_ms), 'beaten', (beaten or beat) and '1' or '0')
  return since
end
