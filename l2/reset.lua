-- reset: begin a new epoch, so that everything kept under the old one is void.
--
-- KEYS  1-4 e s b a
-- ARGV  1-7 ensure   8 the epoch to replace, '' for whichever it is   9 flags of the message
-- Returns {1, epoch, seq, longest lease ms}   or a refusal of ensure
-- Invariant: an epoch is replaced at most once at the request of those who saw it.

local state, made, refusal = ensure(ARGV[8] == '')
if refusal then return refusal end
if not made and (ARGV[8] == '' or ARGV[8] == state.epoch) then
  state = birth(state.rid, longest(state.lease, nil))
  made = true
end
if made then publish(state, ARGV[9], '') end
return {1, state.epoch, state.seq, state.lease}
