-- giveback: count permits of a lease as not spent.
--
-- KEYS  1 counter
-- ARGV  1 permits   2 the end of the window they were taken from, in ms since 1970
-- Returns {'ok', 1 if they went back, 0 if that window is over, or its counter is below zero already}   or {'foreign', type}
-- Invariant: no other window than theirs is touched, none goes below zero, and no end is moved.

local v, kind = counter(KEYS[1])
if v == false then return {'foreign', kind} end
if not v or string.sub(v, 1, 1) == '-' or string.format('%.0f', redis.call('PEXPIRETIME', KEYS[1])) ~= ARGV[2] then return {'ok', 0} end
if at_most(v, ARGV[1]) then
  redis.call('SET', KEYS[1], '0', 'KEEPTTL')
else
  redis.call('DECRBY', KEYS[1], ARGV[1])
end
return {'ok', 1}
