-- Adds events to a run, all of them or none.
-- KEYS: events (stream: ids <seq>-0, field data = envelope), meta (hash: life, seq, session, end, last, mark, marks), ids (sorted set:
--   event id -> seq).
-- ARGV: channel, life if the run is new, max events, slack, max age ms, ms to keep after the end, the text of an envelope
--   between seq and session, the positions of terminal events (such as '2,5'), n; then n event ids and n texts after the
--   session; then position and session as JSON of each event that has one.
-- Returns 'ok', life, session as JSON or '' from before, the seq of the first new event; then position and envelope of each
--   event that was there or came earlier in the batch. The new ones have the numbers that follow. Or, with nothing written:
--   'ended', 'full', 'damaged'.
-- Keeps: seq, the stream's last id and the envelope's seq are one number; every entry has its id in ids and nothing else is
--   there; a mark seq:ms says that the events up to seq were there at ms: last is that of the newest event, and marks has one of
--   those that last was, as often as mark, the time when it got one, is a 16th of the age ago, or ahead, from another primary's
--   clock; a mark that is ahead goes, since a later one says as much; the three keys expire at one time. The first write is one
--   that a full Redis refuses, and what a later one refuses is undone.
local events, meta, ids, call, pcall = KEYS[1], KEYS[2], KEYS[3], redis.call, redis.pcall
local maxEvents, maxAge, between, n = tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[7], tonumber(ARGV[9])
local FIXED = 9

local m = call('HMGET', meta, 'life', 'seq', 'session', 'end', 'mark', 'last')
local life, seq, session, ended, mark = m[1], tonumber(m[2] or '0'), m[3], m[4], tonumber(m[5] or '0')
local length = call('XLEN', events)
if call('ZCARD', ids) ~= length or (not life and length > 0) then return {'damaged'} end

local there, stored, fresh, over = {}, {}, n, ended -- there[i]: the envelope that has the id, or the position of an earlier one
local final, again = {}, false
for i in string.gmatch(ARGV[8], '%d+') do final[tonumber(i)] = true end
local before = string.format('%.0f', seq)
local function forget() call('ZREMRANGEBYSCORE', ids, '(' .. before, '+inf') end

-- Mostly all are new: then entering their ids says so, and nothing has to be looked up.
local entered = not ended and ARGV[8] == '' and seq + n <= 9007199254740991
local numbers = {} -- of the new events, in their order
if entered then
  local index = {}
  for i = 1, n do
    local number = string.format('%.0f', seq + i)
    numbers[i] = number
    index[2 * i - 1], index[2 * i] = number, ARGV[FIXED + i]
  end
  if call('ZADD', ids, 'NX', unpack(index)) < n then
    forget()
    entered = false
  end
end
if not entered then
  there = call('ZMSCORE', ids, unpack(ARGV, FIXED + 1, FIXED + n)) -- false for a new event
  local place, index = {}, {}
  fresh = 0
  for i = 1, n do
    local id = ARGV[FIXED + i]
    if there[i] then
      local number = string.format('%.0f', tonumber(there[i])) .. '-0'
      local entry = call('XRANGE', events, number, number)[1]
      if not entry or not entry[2][2] then return {'damaged'} end
      there[i] = entry[2][2]
    elseif place[id] then
      there[i], again = place[id], true
    else
      if over then return {'ended'} end
      place[id], fresh, over = i, fresh + 1, final[i]
      numbers[fresh] = string.format('%.0f', seq + fresh)
      index[2 * fresh - 1], index[2 * fresh] = numbers[fresh], id
    end
  end
  if seq + fresh > 9007199254740991 then return {'full'} end
  if fresh > 0 then call('ZADD', ids, unpack(index)) end
end

local reply = {'ok', life or ARGV[2], session or '', string.format('%.0f', seq + 1)}
if fresh > 0 then
  local sessions = {}
  for i = FIXED + 2 * n + 1, #ARGV, 2 do sessions[tonumber(ARGV[i])] = ARGV[i + 1] end
  local middle, at, digits = between .. (session or 'null'), 0, nil
  over = false
  for i = 1, n do
    if not there[i] then
      at = at + 1
      digits = numbers[at]
      if not session and sessions[i] then
        session = sessions[i]
        middle = between .. session
      end
      local data = '{"event_id":"' .. ARGV[FIXED + i] .. '","seq":' .. digits .. middle .. ARGV[FIXED + n + i]
      if again then stored[i] = data end
      local added = pcall('XADD', events, digits, 'data', data) -- a number alone is <seq>-0
      if added.err then -- of the first one, if at all
        forget()
        if string.find(added.err, 'equal or smaller', 1, true) then return {'damaged'} end
        return added
      end
      if final[i] then ended, over = digits, true end
    end
  end

  local now = call('TIME')
  local ms = now[1] * 1000 + math.floor(now[2] / 1000)
  local stamp = string.format('%.0f', ms)
  local facts = {'life', reply[2], 'seq', digits, 'last', digits .. ':' .. stamp}
  if session then
    facts[#facts + 1] = 'session'
    facts[#facts + 1] = session
  end
  if over then
    facts[#facts + 1] = 'end'
    facts[#facts + 1] = ended
  end
  local cut = false
  if length + fresh > maxEvents + tonumber(ARGV[4]) then
    call('XTRIM', events, 'MAXLEN', maxEvents)
    cut = true
  end
  if ms - mark >= maxAge / 16 or mark > ms then
    local kept, old = {}, false
    for number, at in string.gmatch((call('HGET', meta, 'marks') or '') .. ' ' .. (m[6] or ''), '(%d+):(%d+)') do
      if tonumber(at) < ms - maxAge then
        old = tonumber(number)
      elseif tonumber(at) <= ms then
        kept[#kept + 1] = number .. ':' .. at
      end
    end
    if old then
      call('XTRIM', events, 'MINID', string.format('%.0f', old + 1) .. '-0')
      cut = true
    end
    facts[#facts + 1] = 'mark'
    facts[#facts + 1] = stamp
    facts[#facts + 1] = 'marks'
    facts[#facts + 1] = table.concat(kept, ' ')
  end
  if cut then
    local oldest = call('XRANGE', events, '-', '+', 'COUNT', 1)[1][1] -- there is one: this call has added it
    call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. string.match(oldest, '^%d+'))
  end
  call('HSET', meta, unpack(facts))
  local expiry = string.format('%.0f', ms + (over and tonumber(ARGV[6]) or maxAge)) -- Redis 7.0 has another time for each command
  call('PEXPIREAT', events, expiry)
  call('PEXPIREAT', meta, expiry)
  call('PEXPIREAT', ids, expiry)
  pcall('PUBLISH', ARGV[1], digits) -- a follower that does not hear it polls
end
for i = 1, n do
  if there[i] then
    reply[#reply + 1] = string.format('%d', i)
    reply[#reply + 1] = stored[there[i]] or there[i]
  end
end
return reply
