-- number: before each script. Numbers up to 2^63-1 are compared as digits, since a Lua number is exact to 2^53 only.

-- at_most says whether the integer a is at most b, which is not negative. Both are canonical digits.
local function at_most(a, b)
  if string.sub(a, 1, 1) == '-' then return true end
  if #a ~= #b then return #a < #b end
  return a <= b
end

-- text reads a string: nil without the key, false and the type where the key is something else.
local function text(key)
  local v = redis.pcall('GET', key)
  if type(v) ~= 'table' then return v or nil end
  if not string.find(v.err, 'WRONGTYPE', 1, true) then error(v.err) end
  return false, redis.call('TYPE', key).ok
end

-- counter reads the digits of a counter: nil without the key, false and what is there where it is no 64-bit integer.
local function counter(key)
  local v, kind = text(key)
  if not v then return v, kind end
  local minus, digits = string.match(v, '^(%-?)([1-9]%d*)$')
  if v ~= '0' and (not digits or not at_most(digits, minus == '' and '9223372036854775807' or '9223372036854775808')) then
    return false, 'string'
  end
  return v
end

-- heal gives a key that has no end the window, so that no counter lives for ever.
local function heal(key, window)
  if redis.call('PTTL', key) == -1 then redis.call('PEXPIRE', key, window) end
end
