-- document: edits members of a JSON document in place. Nothing else of it changes: unknown members, the digits of numbers
-- and empty lists stay as they were written, which decoding and encoding anew would not keep.

-- closing answers where the string that begins at pos ends.
local function closing(doc, pos)
  pos = pos + 1
  while true do
    pos = string.find(doc, '["\\]', pos)
    if not pos then return nil end
    if string.sub(doc, pos, pos) == '"' then return pos end
    pos = pos + 2
  end
end

-- extent answers where the value that begins at pos ends.
local function extent(doc, pos)
  local c = string.sub(doc, pos, pos)
  if c == '"' then return closing(doc, pos) end
  if c ~= '{' and c ~= '[' then
    local past = string.find(doc, '[,}%]%s]', pos)
    return past and past - 1
  end
  local depth = 0
  while true do
    pos = string.find(doc, '["{}%[%]]', pos)
    if not pos then return nil end
    c = string.sub(doc, pos, pos)
    if c == '"' then
      pos = closing(doc, pos)
      if not pos then return nil end
    elseif c == '{' or c == '[' then
      depth = depth + 1
    else
      depth = depth - 1
      if depth == 0 then return pos end
    end
    pos = pos + 1
  end
end

-- members answers where the value of each member begins and ends, and where the closing brace is; nil: not an object. Of a
-- member that is there twice the last counts, as for every reader.
local function members(doc)
  if type(doc) ~= 'string' or not pcall(cjson.decode, doc) then return nil end
  local at = {}
  local pos = string.find(doc, '%S')
  if not pos or string.sub(doc, pos, pos) ~= '{' then return nil end
  pos = string.find(doc, '%S', pos + 1)
  if pos and string.sub(doc, pos, pos) == '}' then return at, pos, true end
  while pos do
    local quote = pos
    if string.sub(doc, pos, pos) ~= '"' then return nil end
    pos = closing(doc, pos)
    if not pos then return nil end
    local name = string.sub(doc, quote + 1, pos - 1)
    if string.find(name, '\\', 1, true) then
      local ok, list = pcall(cjson.decode, '["' .. name .. '"]')
      name = ok and list[1] or nil
    end
    pos = string.find(doc, '%S', pos + 1)
    if not pos or string.sub(doc, pos, pos) ~= ':' then return nil end
    local from = string.find(doc, '%S', pos + 1)
    local to = from and extent(doc, from)
    if not to then return nil end
    if name then at[name] = {from, to} end
    pos = string.find(doc, '%S', to + 1)
    if not pos then return nil end
    local c = string.sub(doc, pos, pos)
    if c == '}' then return at, pos, false end
    if c ~= ',' then return nil end
    pos = string.find(doc, '%S', pos + 1)
  end
  return nil
end

-- raw answers the text of a member's value, or nil.
local function raw(doc, at, name)
  return at[name] and string.sub(doc, at[name][1], at[name][2])
end

-- word answers the string that a member holds; nil if it is no string.
local function word(doc, at, name)
  local text = raw(doc, at, name)
  if not text or string.sub(text, 1, 1) ~= '"' then return nil end
  if not string.find(text, '\\', 1, true) then return string.sub(text, 2, -2) end
  local ok, list = pcall(cjson.decode, '[' .. text .. ']')
  return ok and list[1] or nil
end

-- with answers the document with a member set to the text of a value. A member that is not there comes last.
local function with(doc, name, text)
  local at, brace, empty = members(doc)
  if at[name] then
    return string.sub(doc, 1, at[name][1] - 1) .. text .. string.sub(doc, at[name][2] + 1)
  end
  return string.sub(doc, 1, brace - 1) .. (empty and '' or ',') .. '"' .. name .. '":' .. text .. string.sub(doc, brace)
end

-- record answers the text of a record; nil where there is none. A key of another type, or an empty text, is none to any reader.
local function record(key)
  local doc = redis.pcall('GET', key)
  if type(doc) == 'table' and not string.find(doc.err, 'WRONGTYPE', 1, true) then return redis.call('GET', key) end -- and fail
  return type(doc) == 'string' and doc ~= '' and doc or nil
end

local fraction, exponent = '^%-?%d+%.%d+$', '[eE][+-]?%d+$'

-- number says whether a text is a number of JSON, and answers the digits of an integer.
local function number(text)
  local whole = string.match(text, '^%-?(%d+)')
  if not whole or (whole ~= '0' and string.sub(whole, 1, 1) == '0') then return false end
  if string.find(text, '^%-?%d+$') then return true, whole end
  local power = string.find(text, exponent)
  local rest = power and string.sub(text, 1, power - 1) or text
  return string.find(rest, fraction) ~= nil or (power and string.find(rest, '^%-?%d+$') ~= nil)
end

local function integer(text)
  local ok, digits = number(text)
  if not ok or not digits then return false end
  local most = string.sub(text, 1, 1) == '-' and '9223372036854775808' or '9223372036854775807'
  return #digits < 19 or (#digits == 19 and digits <= most)
end

local moment = '^%d%d%d%d%-[01]%d%-[0-3]%dT[0-2]?%d:[0-5]%d:[0-5]%d[.,]?%d*[Z+-][%d:]*$'

-- whole says whether document.go reads the document too, as that of the agent: what it refuses is not edited. It does not look
-- into the values of members that this version does not know, and not whether a month has such a day.
local function whole(doc, at, id)
  if word(doc, at, 'id') ~= id then return false end
  for name, where in pairs(at) do
    local text = string.sub(doc, where[1], where[2])
    local c = string.sub(text, 1, 1)
    if c == '"' and string.find(text, '[%z\1-\31]') then return false end
    if name == 'name' or name == 'status' then
      if c ~= '"' and text ~= 'null' then return false end
    elseif name == 'last_heartbeat' then
      if text ~= 'null' and not string.find(word(doc, at, name) or '', moment) then return false end
    elseif name == 'current_load' or name == 'max_load' then
      if text ~= 'null' and not integer(text) then return false end
    elseif name == 'capabilities' then
      if c ~= '[' and text ~= 'null' then return false end
      for _, capability in ipairs(c == '[' and cjson.decode(text) or {}) do
        if type(capability) ~= 'string' and capability ~= cjson.null then return false end
      end
    elseif not string.find(c, '["{%[]') and text ~= 'null' and text ~= 'true' and text ~= 'false' and not number(text) then
      return false
    end
  end
  return true
end
