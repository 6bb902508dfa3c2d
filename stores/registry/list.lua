-- list: reads all agents.
--
-- KEYS  1 index
-- ARGV  1 prefix of records   2 a random word   3… encoded ids that a scan has found
-- Returns whether the index is whole, the time (s, µs), the ms after which the first record ends (-1: none does), and the
--       encoded ids and their documents, in the same order, each list as one string: with a newline after each id, a zero
--       byte after each document. Neither is in what it ends; a document that holds a zero byte is none, and empty here.
--       Thousands of elements would cost more than all the rest.
-- Invariant: only a scan that began and ended with the same index makes it whole. It leaves its word in the index at its
--       begin (a call without ids) and must find it there at its end; who loses the index loses the word. While the slot
--       moves nothing is taken for gone.

local never = 9000000000000000 -- the score of what does not end by itself
local mark = '?' .. ARGV[2]

-- settled fails while the slot moves, as a node does that is asked for two keys then. To reads of one that is still to come
-- the node that it comes to answers that there is none.
local function settled() redis.call('EXISTS', ARGV[1] .. '!', ARGV[1] .. '?') end

for i = 3, #ARGV do -- a full Redis refuses only what is new: without it the list would not be whole
  if ARGV[i] ~= '' and not redis.call('ZSCORE', KEYS[1], ARGV[i]) then redis.call('ZADD', KEYS[1], 0, ARGV[i]) end
end
local whole = redis.call('ZSCORE', KEYS[1], '!') and 1 or 0
if whole == 0 then
  if #ARGV > 2 and redis.call('ZSCORE', KEYS[1], mark) then
    settled() -- else the scan was of one node
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '-inf') -- every scan's word: the others find the index whole
    redis.call('ZADD', KEYS[1], '+inf', '!')
    whole = 1
  else
    redis.call('ZADD', KEYS[1], '-inf', mark)
  end
end

-- What is new to the index, or whose time another program has begun anew, gets its time; what has ended goes.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], 0, string.format('%.0f', now_ms))) do
  local left = redis.call('PTTL', ARGV[1] .. id)
  if left == -2 then
    settled()
    redis.call('ZREM', KEYS[1], id)
  else
    redis.call('ZADD', KEYS[1], string.format('%.0f', left < 0 and never or now_ms + math.max(left, 1)), id)
  end
end

local ids = redis.call('ZRANGEBYSCORE', KEYS[1], 0, never)
local odd = '[^A-Za-z0-9._:%%-]' -- no id is encoded so, and one that holds a newline would break the answer
if string.find(table.concat(ids), odd) then
  local own = {}
  for _, id in ipairs(ids) do
    if string.find(id, odd) then redis.call('ZREM', KEYS[1], id) else own[#own + 1] = id end
  end
  ids = own
end
local keys, docs, gone = {}, {}, {}
for i = 1, #ids do keys[i] = ARGV[1] .. ids[i] end
local chunk = 1000 -- far below what unpack can take
for from = 1, #keys, chunk do
  local to = math.min(from + chunk - 1, #keys)
  local part = redis.call('MGET', unpack(keys, from, to))
  for i = 1, to - from + 1 do
    local doc = part[i]
    if not doc or doc == '' then
      gone[#gone + 1] = ids[from + i - 1]
      doc = ''
    elseif string.find(doc, '\0', 1, true) then
      doc = ''
    end
    docs[from + i - 1] = doc
  end
end

-- Evicted, removed by another program, or no document at all.
if #gone > 0 then
  settled()
  for _, id in ipairs(gone) do redis.call('ZREM', KEYS[1], id) end
  local was = {}
  for _, id in ipairs(gone) do was[id] = true end
  local n = 0
  for i = 1, #ids do
    if not was[ids[i]] then
      n = n + 1
      ids[n], docs[n] = ids[i], docs[i]
    end
  end
  for i = #ids, n + 1, -1 do ids[i], docs[i] = nil, nil end
end

local lasts = -1
local first = redis.call('ZRANGEBYSCORE', KEYS[1], 0, '(' .. string.format('%.0f', never), 'WITHSCORES', 'LIMIT', 0, 1)
if first[2] then lasts = math.max(tonumber(first[2]) - now_ms, 0) end
ids[#ids + 1], docs[#docs + 1] = '', ''
return {whole, now[1], now[2], lasts, table.concat(ids, '\n'), table.concat(docs, '\0')}
