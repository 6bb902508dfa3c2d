-- discard: delete a value that does not decode, unless it has been replaced since.
--
-- KEYS  1-4 e s b a   5 d:<id>   6 its mirror, in a process that has one
-- ARGV  1-7 ensure   8 SHA-1 of the value as it was read, epoch included, in hex
-- Returns {1} deleted   {0} another value is there, or none
-- Invariant: never deletes a value that the caller has not seen, nor leaves its mirror. It answers no epoch and so needs none.

local value = redis.call('GET', KEYS[5])
if not value or redis.sha1hex(value) ~= ARGV[8] then return {0} end
local prefix = redis.pcall('HGET', KEYS[3], 'mirror') -- other processes may have mirrors
if type(prefix) == 'string' then redis.call('UNLINK', mirrored(prefix, KEYS[5])) end
redis.call('UNLINK', unpack(KEYS, 5))
return {1}
