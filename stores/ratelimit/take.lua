-- take: spend on every key, or on none.
--
-- KEYS  one per demand, no two the same
-- ARGV  six per demand
--       fixed window: 'f', permits, Max less the permits, window in ms, '', ''
--       GCRA: 'g', what the permits are worth in us, and its fraction, what the burst is worth in us, and its fraction, Max
--       A fraction is in parts of 1/Max us.
-- Returns {'ok', …} with three values per demand: 1 if it alone fits, then
--         fixed window: total, ms until the window ends (-2: there is none)
--         GCRA: us and fraction that the theoretical arrival time is ahead of now
--         or {'foreign', number of the demand, type}
-- Invariant: either every demand fits and all are spent, or nothing is; time is the server's alone.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- ahead is how far the theoretical arrival time is ahead of now: us and fraction. Under another Max than ours the fraction
-- means something else and counts as a whole us. After a larger limit, or a clock that went back, it is more than the burst is
-- worth: then nothing fits for as long, and the answer says so.
local function ahead(stored, max)
  local us, part, of = string.match(stored, '^(%d+):(%d+)/(%d+)$')
  if not us or math.max(#us, #part, #of) > 16 or tonumber(part) >= tonumber(of) then return nil end
  us, part = tonumber(us) - now, tonumber(part)
  if of ~= max and part > 0 then us, part = us + 1, 0 end
  if us < 0 then return 0, 0 end
  return us, part
end

local all, found = true, {}
for i, key in ipairs(KEYS) do
  local a = 6 * (i - 1)
  if ARGV[a + 1] == 'f' then
    local v, kind = counter(key)
    if v == false then return replica() or {'foreign', i, kind} end
    found[i] = {fits = not v or at_most(v, ARGV[a + 3])}
  else
    local v, kind = text(key)
    if v == false then return replica() or {'foreign', i, kind} end
    local burst, burst_part, max = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5]), tonumber(ARGV[a + 6])
    local us, part = 0, 0
    if v then
      us, part = ahead(v, ARGV[a + 6])
      if not us then return replica() or {'foreign', i, 'string'} end
    end
    local after, after_part = us + tonumber(ARGV[a + 2]), part + tonumber(ARGV[a + 3])
    if after_part >= max then after, after_part = after + 1, after_part - max end
    local fits = after < burst or after == burst and after_part <= burst_part
    found[i] = {fits = fits, us = us, part = part, after = after, after_part = after_part}
  end
  all = all and found[i].fits
end

if not all then
  local refused = replica()
  if refused then return refused end
end

local answer = {'ok'}
for i, key in ipairs(KEYS) do
  local a, f = 6 * (i - 1), found[i]
  answer[#answer + 1] = f.fits and 1 or 0
  if ARGV[a + 1] == 'f' then
    if all then redis.call('INCRBY', key, ARGV[a + 2]) end
    heal(key, ARGV[a + 4])
    answer[#answer + 1] = redis.call('GET', key) or '0'
    answer[#answer + 1] = redis.call('PTTL', key)
  else
    if all then
      f.us, f.part = f.after, f.after_part
      local stored = string.format('%.0f:%.0f/%s', now + f.us, f.part, ARGV[a + 6])
      redis.call('SET', key, stored, 'PX', string.format('%.0f', math.floor(f.us / 1000) + 2))
    end
    answer[#answer + 1] = f.us
    answer[#answer + 1] = f.part
  end
end
return answer
