-- release: give a fill lease back without filling.
--
-- KEYS  1-4 e s b a   5 l:<id>
-- ARGV  1-7 ensure   8 nonce of the get that gave the lease
-- Returns {1} released   {0} no such lease
-- Invariant: only the holder's own acquisition ends. The fence stays as long as it did. It answers no epoch and so needs none.

local l = redis.call('HMGET', KEYS[5], 'n', 'f')
-- A lease is named by its epoch and its nonce; the nonce alone is never used twice.
if not l[1] or string.sub(l[1], 33) ~= ARGV[8] then return {0} end
if l[2] then redis.call('HDEL', KEYS[5], 'n', 'u') else redis.call('UNLINK', KEYS[5]) end
return {1}
