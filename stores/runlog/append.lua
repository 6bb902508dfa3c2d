-- Adds events to a run, all of them or none.
-- KEYS: events (stream, see entry.lua), meta (hash: life, seq, session, end, last, mark, marks, packed), ids (sorted set: event id ->
--   number of its entry).
-- ARGV: channel, life if the run is new, max events, slack, max age ms, ms to keep after the end, the text of an envelope
--   between seq and session, the positions of terminal events (such as '2,5'), number of blocks; then ids, lengths and events of
--   each block; then position and session as JSON of each event that has one.
-- Returns 'ok', life, session as JSON or '' from before, the seq of the first new event; then position and envelope of each
--   event that was there or came earlier in the batch. The new ones have the numbers that follow. Or, with nothing written:
--   'ended', 'full', 'damaged'.
-- Keeps: seq is the stream's last id and the last event's number; every event has its id in ids and nothing else is there, so that
--   there are as many as entries and packed, which counts what blocks hold beyond one each; a mark seq:ms says that the events up
--   to seq were there at ms: last is that of the newest event, and marks has one of those that last was, as often as mark, the time
--   when it got one, is a 16th of the age ago, or ahead, from another primary's clock; a mark that is ahead goes, since a later one
--   says as much; the three keys expire at one time. The first write is one that a full Redis refuses, and what a later one
--   refuses is undone.
local events, meta, ids, call, pcall = KEYS[1], KEYS[2], KEYS[3], redis.call, redis.pcall
local maxEvents, maxAge, between, blocks = tonumber(ARGV[3]), tonumber(ARGV[5]), ARGV[7], tonumber(ARGV[9])
local FIRST = 10 -- where the blocks begin
local PART = 10000 -- events that are cut at once
local extra = FIRST + 3 * blocks

local m = call('HMGET', meta, 'life', 'seq', 'session', 'end', 'mark', 'last', 'packed')
local life, seq, session, ended, mark, packed = m[1], tonumber(m[2] or '0'), m[3], m[4], tonumber(m[5] or '0'), tonumber(m[7] or '0')
local length, held = call('XLEN', events), call('ZCARD', ids)

-- settled is what is answered without a write. A replica refuses it as one: it may be behind, or have what a failover has lost.
local function settled(answer)
  call('ZREMRANGEBYSCORE', ids, '(0', '(0') -- removes nothing
  return answer
end
if held ~= length + packed or (not life and length > 0) then return settled({'damaged'}) end

local n = 0
for b = FIRST, extra - 1, 3 do n = n + #ARGV[b] / 36 end
local reply = {'ok', life or ARGV[2], session or '', string.format('%.0f', seq + 1)}
local fresh, over, digits = n, false, nil
local before = string.format('%.0f', seq)
local function forget() call('ZREMRANGEBYSCORE', ids, '(' .. before, '+inf') end
local function refused(added) -- the first entry, if at all
  forget()
  if string.find(added.err, 'equal or smaller', 1, true) then return {'damaged'} end
  return added
end

-- Mostly all events are new, none ends the run and none begins it: then entering their ids says so, nothing has to be looked up,
-- and blocks are stored as they are.
local plain = not ended and ARGV[8] == '' and not ARGV[extra] and seq + n <= 9007199254740991
if plain then
  local index, at, last, numbers = {}, 1, seq, {}
  for b = FIRST, extra - 1, 3 do
    local names = ARGV[b]
    last = last + #names / 36
    digits = string.format('%.0f', last)
    numbers[b] = digits
    for i = 1, #names, 36 do
      index[at], index[at + 1] = digits, string.sub(names, i, i + 35)
      at = at + 2
    end
  end
  if call('ZADD', ids, 'NX', unpack(index)) < n then
    forget()
    plain = false
  else
    local middle, added = between .. (session or 'null'), nil
    for b = FIRST, extra - 1, 3 do
      local names, number = ARGV[b], numbers[b] -- a number alone is <seq>-0
      if #names == 36 then
        added = pcall('XADD', events, number, 'data', '{"event_id":"' .. names .. '","seq":' .. number .. middle .. ARGV[b + 2])
      else
        added = pcall('XADD', events, number, 'ids', names, 'lengths', ARGV[b + 1], 'between', middle, 'events', ARGV[b + 2])
      end
      if added.err then return refused(added) end
    end
    packed = packed + n - blocks
  end
end

if not plain then
  local id, text, final, sessions = {}, {}, {}, {}
  for b = FIRST, extra - 1, 3 do
    local at, from = 1, 1
    for size in string.gmatch(ARGV[b + 1], '%d+') do
      id[#id + 1], text[#text + 1] = string.sub(ARGV[b], at, at + 35), string.sub(ARGV[b + 2], from, from + size - 1)
      at, from = at + 36, from + size
    end
  end
  for i in string.gmatch(ARGV[8], '%d+') do final[tonumber(i)] = true end
  for i = extra, #ARGV, 2 do sessions[tonumber(ARGV[i])] = ARGV[i + 1] end

  local there = call('ZMSCORE', ids, unpack(id)) -- of a new event false; then the envelope, or the position of an earlier one
  local numbers, index, place, again = {}, {}, {}, false
  local block, ends = nil, nil -- the last one that was read, and where in it texts end
  fresh, over = 0, ended
  for i = 1, n do
    if there[i] then
      local number = string.format('%.0f', tonumber(there[i]))
      local fields = fields_of(events, number)
      if not fields then return settled({'damaged'}) end
      local its, at = seq_of(fields, number, id[i])
      if not its then return settled({'damaged'}) end
      there[i] = fields[2]
      if is_block(fields) then
        if fields ~= block then
          block, ends = fields, {[0] = 0}
          for size in string.gmatch(fields[4], '%d+') do ends[#ends + 1] = ends[#ends] + size end
        end
        if not ends[at] then return settled({'damaged'}) end
        there[i] = '{"event_id":"' .. id[i] .. '","seq":' .. its .. fields[6] .. string.sub(fields[8], ends[at - 1] + 1, ends[at])
      end
    elseif place[id[i]] then
      there[i], again = place[id[i]], true
    else
      if over then return settled({'ended'}) end
      place[id[i]], fresh, over = i, fresh + 1, final[i]
      numbers[i] = string.format('%.0f', seq + fresh)
      index[2 * fresh - 1], index[2 * fresh] = numbers[i], id[i]
    end
  end
  if seq + fresh > 9007199254740991 then return settled({'full'}) end
  if fresh > 0 then call('ZADD', ids, unpack(index)) end

  local stored, middle = {}, between .. (session or 'null')
  over = false
  for i = 1, n do
    if numbers[i] then
      digits = numbers[i]
      if not session and sessions[i] then
        session = sessions[i]
        middle = between .. session
      end
      local data = '{"event_id":"' .. id[i] .. '","seq":' .. digits .. middle .. text[i]
      if again then stored[i] = data end
      local added = pcall('XADD', events, digits, 'data', data)
      if added.err then return refused(added) end
      if final[i] then ended, over = digits, true end
    end
  end
  for i = 1, n do
    if there[i] then
      reply[#reply + 1] = string.format('%d', i)
      reply[#reply + 1] = stored[there[i]] or there[i]
    end
  end
  if fresh == 0 then return settled(reply) end
end

local now = call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stamp = string.format('%.0f', ms)
local facts = {'life', reply[2], 'seq', digits, 'last', digits .. ':' .. stamp}
local function fact(name, value)
  facts[#facts + 1] = name
  facts[#facts + 1] = value
end
if session then fact('session', session) end
if over then fact('end', ended) end

-- cut takes out the entries before a number, and says whether that is all of them: many take Redis long, and later appends do the rest.
local function cut(number)
  local most = call('ZRANGE', ids, PART, PART, 'WITHSCORES')[2]
  local all = not most or tonumber(most) >= tonumber(number)
  if not all then number = string.format('%.0f', tonumber(most)) end
  call('XTRIM', events, 'MINID', number)
  call('ZREMRANGEBYSCORE', ids, '-inf', '(' .. number)
  packed = call('ZCARD', ids) - call('XLEN', events)
  return all
end
if held + fresh > maxEvents + tonumber(ARGV[4]) then
  cut(string.format('%.0f', tonumber(call('ZREVRANGE', ids, maxEvents - 1, maxEvents - 1, 'WITHSCORES')[2])))
end
if ms - mark >= maxAge / 16 or mark > ms then
  local kept, old, its = {}, nil, nil
  for number, at in string.gmatch((call('HGET', meta, 'marks') or '') .. ' ' .. (m[6] or ''), '(%d+):(%d+)') do
    if tonumber(at) < ms - maxAge then
      old, its = tonumber(number), number .. ':' .. at
    elseif tonumber(at) <= ms then
      kept[#kept + 1] = number .. ':' .. at
    end
  end
  if not old or cut(string.format('%.0f', old + 1)) then
    fact('mark', stamp)
  else
    table.insert(kept, 1, its) -- for the next append to find
  end
  fact('marks', table.concat(kept, ' '))
end
if packed ~= tonumber(m[7] or '0') then fact('packed', string.format('%.0f', packed)) end
call('HSET', meta, unpack(facts))
local expiry = string.format('%.0f', ms + (over and tonumber(ARGV[6]) or maxAge)) -- Redis 7.0 has another time for each command
call('PEXPIREAT', events, expiry)
call('PEXPIREAT', meta, expiry)
call('PEXPIREAT', ids, expiry)
pcall('PUBLISH', ARGV[1], digits) -- a follower that does not hear it polls
return reply
