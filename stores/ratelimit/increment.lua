-- increment: add to the counter of a window, which begins with the first hit.
--
-- KEYS  1 counter
-- ARGV  1 amount, not negative   2 window in ms   3 2^63-1 less the amount
-- Returns {'ok', total}   or {'foreign', type}   or {'overflow'} with the counter unchanged
-- Invariant: a counter and its end are made in one step; a later hit never moves the end; the amount 0 writes nothing.

local v, kind = counter(KEYS[1])
if v == false then return replica() or {'foreign', kind} end
if ARGV[1] == '0' then return replica() or {'ok', v or '0'} end
if v and not at_most(v, ARGV[3]) then
  heal(KEYS[1], ARGV[2])
  return replica() or {'overflow'}
end
redis.call('INCRBY', KEYS[1], ARGV[1])
heal(KEYS[1], ARGV[2])
return {'ok', redis.call('GET', KEYS[1])}
