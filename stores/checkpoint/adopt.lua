-- Brings ids of the set that the index lacks into the index: threads that other programs saved, or all of them if the index
-- was lost.
--
-- KEYS  1 set of ids, 2 index
-- ARGV  1 cursor of SSCAN, 2 how many to look at, about, 3 head of the state keys, 4 head of the mark keys
-- Returns the cursor to go on with; '0': that was all.
--
-- In one step: an id gets into the index only while its thread lives, as the newest, and not below the order that its mark knows;
-- a dead one is dropped from the set.
local reply = redis.call('SSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local order = tonumber(next_order(KEYS[2], '0'))
for _, id in ipairs(reply[2]) do
  if not redis.call('ZSCORE', KEYS[2], id) and not dead(KEYS[1], KEYS[2], ARGV[3], ARGV[4], id) then
    local mark = ARGV[4] .. name_of(id)
    local version = mark_of(mark)
    if version == '0' then here(mark) end -- fails while it is still to come
    order = math.max(order, tonumber(version))
    redis.call('ZADD', KEYS[2], string.format('%.0f', order), id)
    order = order + 1
  end
end
return reply[1]
