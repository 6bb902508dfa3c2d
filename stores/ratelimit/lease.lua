-- lease: take a block of permits from a fixed window.
--
-- KEYS  1 counter
-- ARGV  1 permits needed, at least 1   2 permits wanted, no fewer   3 Max, below 2^53   4 window in ms   5 parts
-- Returns {'ok', permits given, remaining, ms until the window ends, its end in ms since 1970}   or {'foreign', type}
-- Invariant: what is given is counted in the same step. It is at most 1/parts of what remains, but what is needed is given
-- whole or not at all.

local v, kind = counter(KEYS[1])
if v == false then return replica() or {'foreign', kind} end
-- From 2^53 on the total may be read as a little less or more, and is above Max either way.
local remaining = math.max(0, tonumber(ARGV[3]) - tonumber(v or '0'))
local need, given = tonumber(ARGV[1]), 0
if need <= remaining then
  given = math.max(need, math.min(tonumber(ARGV[2]), math.floor(remaining / tonumber(ARGV[5]))))
  redis.call('INCRBY', KEYS[1], string.format('%.0f', given))
end
heal(KEYS[1], ARGV[4])
local refused = given == 0 and replica()
if refused then return refused end
return {'ok', given, remaining - given, redis.call('PTTL', KEYS[1]), redis.call('PEXPIRETIME', KEYS[1])}
