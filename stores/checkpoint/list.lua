-- Lists live threads, those saved last first.
--
-- KEYS  1 set of ids, 2 index
-- ARGV  1 order below which they are listed ('': all), 2 how many, 3 how many ids may be looked at, 4 head of the state keys,
--       5 head of the mark keys, 6 '1': other programs add ids
-- Returns {1, ''} if the set has ids that the index lacks and none was listed yet, or if the index is lost; else {0, order to go
-- on below ('': that was all), then id, order and pin of each}.
--
-- An index without threads is lost if a thread lives that it had: one with a mark, or, where nobody else adds any, whichever. A set
-- that has more ids than may be looked at counts as one that has such a thread.
--
-- In one step: each thread that is answered is alive. Ids that are looked at and dead are dropped, so that nobody looks at
-- them again, unless the server refuses every write. It fails while the slot moves and something is not here.
local function gone(id)
  if id ~= '' and here(ARGV[4] .. name_of(id)) then return false end
  local done, is = pcall(dead, KEYS[1], KEYS[2], ARGV[4], ARGV[5], id) -- what fails is the dropping
  return not done or is
end

local listed = redis.call('ZCARD', KEYS[2])
if redis.call('ZSCORE', KEYS[2], '') then listed = listed - 1 end
if ARGV[1] == '' and redis.call('SCARD', KEYS[1]) > listed then return {1, ''} end
if listed == 0 then
  local reply = redis.call('SSCAN', KEYS[1], '0', 'COUNT', ARGV[3])
  for _, id in ipairs(reply[2]) do
    if not gone(id) and
      (ARGV[6] == '0' or here(ARGV[5] .. name_of(id))) then return {1, ''} end
  end
  if reply[1] ~= '0' then return {1, ''} end
end

local below, left, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local answer = {0, ''}
while left > 0 and budget > 0 do
  local max = below == '' and '+inf' or '(' .. below
  local rows = redis.call('ZREVRANGEBYSCORE', KEYS[2], max, '-inf', 'WITHSCORES', 'LIMIT', 0, math.min(left, budget))
  if #rows == 0 then return answer end
  for i = 1, #rows, 2 do
    local id = rows[i]
    below = string.format('%.0f', tonumber(rows[i + 1]))
    budget = budget - 1
    if not gone(id) then
      local mark = ARGV[5] .. name_of(id)
      local version, _, pin = mark_of(mark)
      if version == '0' then here(mark) end -- fails while it is still to come
      if pin == '1' and redis.call('PTTL', ARGV[4] .. name_of(id)) ~= -1 then pin = '0' end -- another program gave it an end
      if redis.call('SISMEMBER', KEYS[1], id) == 0 then redis.pcall('SADD', KEYS[1], id) end -- heals a set that was lost; a full Redis refuses
      left = left - 1
      answer[#answer + 1] = id
      answer[#answer + 1] = below
      answer[#answer + 1] = pin
    end
  end
end
if redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. below) > 0 then answer[2] = below end
return answer
