-- Changes how long a thread is kept.
--
-- KEYS  1 state, 2 mark, 3 set of ids, 4 index
-- ARGV  1 'pin', 'unpin' or 'touch', 2 TTL in ms of a thread that is not pinned ('0': none), 3 id
-- Returns 1, or 0 without a thread.
--
-- In one step: pin and end of both keys change together. The state and its version stay. A thread that only another program has
-- saved gets into the index, so that its mark is found when it is dead.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local version, length, pin = mark_of(KEYS[2])
if not redis.call('ZSCORE', KEYS[4], ARGV[3]) then redis.call('ZADD', KEYS[4], next_order(KEYS[4], version), ARGV[3]) end
if ARGV[1] == 'pin' then pin = '1' elseif ARGV[1] == 'unpin' then pin = '0' end
local mark = version .. ' ' .. math.max(length, 0) .. ' ' .. pin
if ARGV[2] == '0' or pin == '1' then
  redis.call('SET', KEYS[2], mark)
  redis.call('PERSIST', KEYS[1])
else
  redis.call('SET', KEYS[2], mark, 'PX', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
