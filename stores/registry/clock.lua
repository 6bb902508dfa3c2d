-- clock: the server's time, the same for all processes. now_ms is since 1970, now_text is RFC 3339.

local now = redis.call('TIME')
local now_s, now_us = tonumber(now[1]), tonumber(now[2])
local now_ms = now_s * 1000 + math.floor(now_us / 1000)

-- The civil date of a day since 1970 (H. Hinnant, chrono-compatible low-level date algorithms): Lua has no dates here.
local function rfc3339(s, us)
  local days = math.floor(s / 86400)
  local rest = s - days * 86400
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local d = doy - math.floor((153 * mp + 2) / 5) + 1
  local m = mp < 10 and mp + 3 or mp - 9
  local y = yoe + era * 400 + (m <= 2 and 1 or 0)
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%06dZ',
    y, m, d, math.floor(rest / 3600), math.floor(rest / 60) % 60, rest % 60, us)
end

local now_text = rfc3339(now_s, now_us)
