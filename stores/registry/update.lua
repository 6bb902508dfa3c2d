-- update: changes the status or the load of one agent.
--
-- KEYS  1 record
-- ARGV  1 id   2 status | load | take | give   3 the new status or load
-- Returns 0 no such agent, 1 changed, 2 as it was, -1 the record is not the agent's document
-- Invariant: take adds one only where status and loads, in the same step, allow it. The TTL goes on: this is no sign of life.

local doc = record(KEYS[1])
if not doc then return 0 end
local at = members(doc)
if not at or not whole(doc, at, ARGV[1]) then return -1 end

local greatest = 9007199254740991 -- that a Lua number counts; an agent that has it is full

-- count reads a load. One that a Lua number cannot count is nothing to add to.
local function count(name)
  local text = raw(doc, at, name) or '0'
  if text == 'null' then return 0 end
  if not string.find(text, '^%-?%d+$') or #text > 16 then return nil end
  local n = tonumber(text)
  return n <= greatest and n or nil
end

local name, text = 'current_load', nil
if ARGV[2] == 'status' then
  name, text = 'status', '"' .. ARGV[3] .. '"'
  if word(doc, at, name) == ARGV[3] then return 2 end
elseif ARGV[2] == 'load' then
  text = ARGV[3]
  if (raw(doc, at, name) or '0') == text then return 2 end
else
  local load, max = count('current_load'), count('max_load')
  if not load or not max then return -1 end
  if ARGV[2] == 'take' then
    if word(doc, at, 'status') ~= 'available' or load >= greatest or (max ~= 0 and load >= max) then return 2 end
    load = load + 1
  elseif load <= 0 then
    return 2
  else
    load = load - 1
  end
  text = string.format('%.0f', load)
end
redis.call('SET', KEYS[1], with(doc, name, text), 'KEEPTTL')
return 1
