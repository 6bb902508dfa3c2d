-- What the scripts share. An entry of a run's stream is an event, with its envelope in the field data; or a block of events up to the
-- one whose number it has, with these fields in this order:
--   ids       36 bytes of each event
--   lengths   of their texts, such as '165 163'
--   between   what an envelope has between its number and its text: the run and the session, the same for all
--   events    their texts, one behind the other

local function is_block(fields)
  return #fields == 8 and fields[1] == 'ids' and fields[3] == 'lengths' and fields[5] == 'between' and fields[7] == 'events'
end

-- content_of answers of the fields of an entry its envelope; or what a block has in its fields; or '' if it is not ours. Then how
-- many events these are, and how many bytes their envelopes have.
local function content_of(fields)
  if #fields == 2 and fields[1] == 'data' then return fields[2], 1, #fields[2] end
  if not is_block(fields) then return '', 1, 0 end
  local n = math.max(1, math.floor(#fields[2] / 36))
  return {fields[2], fields[4], fields[6], fields[8]}, n, #fields[8] + n * (#fields[6] + 80)
end

-- fields_of answers the fields of the entry that has a number, or nil. It keeps those of the last one, as what is asked for comes
-- together.
local latest = {}
local function fields_of(events, number)
  if latest.number ~= number then
    local entry = redis.call('XRANGE', events, number .. '-0', number .. '-0')[1]
    latest = {number = number, fields = entry and entry[2]}
  end
  return latest.fields
end

-- seq_of answers the number of the event that has an id in the entry that has a number, and its place in there; nil if it is not in
-- this block. An entry of one event is that of the id.
local function seq_of(fields, number, id)
  if not is_block(fields) then return number, 1 end
  local at = string.find(fields[2], id, 1, true)
  if not at then return nil end
  local place = (at + 35) / 36
  return string.format('%.0f', number - #fields[2] / 36 + place), place
end
