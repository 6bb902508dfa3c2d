package explore

import "fmt"

// tell says in words what a step did.
func (x *explorer) tell(before, after *state, st step) string {
	p, e := int(st.p), st.event()
	was, is := &before.procs[p], &after.procs[p]
	lease := func() string {
		text := fmt.Sprintf(" (epoch %s, applied %d, lease ", name(x.knows(is).epoch), x.knows(is).applied)
		if is.lease == 0 {
			return text + "none)"
		}
		return text + fmt.Sprintf("%d ticks)", is.lease)
	}
	at := func(epoch, seq uint8) string { return fmt.Sprintf("epoch %s, seq %d", name(epoch), seq) }
	switch e {
	case Tick:
		return "a tick passes"
	case RenewSend:
		return fmt.Sprintf("p%d sends a renewal: %s applied", p, at(is.renewal.epoch, is.renewal.seq))
	case RenewExecuted:
		return fmt.Sprintf("the server executes p%d's renewal: %s", p, at(is.renewal.atEpoch, is.renewal.atSeq))
	case RenewAnswered:
		return fmt.Sprintf("p%d has the answer to its renewal: %s", p, at(was.renewal.atEpoch, was.renewal.atSeq)) + lease()
	case RenewFailed:
		return fmt.Sprintf("p%d's renewal gets no answer", p)
	case Message:
		l := before.log[st.x]
		return fmt.Sprintf("p%d receives the message %s of version %d", p, at(l.epoch, l.seq), l.version) + lease()
	case Pure:
		if st.x == maxLog {
			return fmt.Sprintf("p%d receives a message of epoch %s that names nothing", p, name(before.redis.epoch)) + lease()
		}
		return fmt.Sprintf("p%d is told of %s by a message that names nothing", p, at(before.log[st.x].epoch, before.log[st.x].seq)) + lease()
	case GapClosed:
		return fmt.Sprintf("p%d gives what is missing up", p) + lease()
	case Leave:
		return fmt.Sprintf("p%d gives its lease up and deletes its registration", p)
	case Reset:
		return fmt.Sprintf("the server executes p%d's reset: epoch %s", p, name(after.redis.epoch))
	case Look, LookAgain:
		l := is.load
		text := fmt.Sprintf("p%d begins to load %s: ", p, keyName(int(l.key)))
		if e == LookAgain {
			text = fmt.Sprintf("p%d looks again: ", p)
		}
		if l.token != 0 {
			text = fmt.Sprintf("p%d begins to load %s with a token of version %d: ", p, keyName(int(l.key)), l.token)
		}
		switch l.reply.outcome {
		case hit:
			return text + fmt.Sprintf("L2 answers version %d", l.reply.version)
		case leased:
			return text + fmt.Sprintf("L2 gives the fill lease, fence %d", l.reply.fence)
		case busy:
			return text + fmt.Sprintf("L2 is busy, fence %d", l.reply.fence)
		default:
			return text + "nothing"
		}
	case Looked, Loaded, LookFailed:
		text := fmt.Sprintf("p%d has the answer of L2", p)
		switch e {
		case LookFailed:
			text = fmt.Sprintf("p%d has no answer of L2", p)
		case Loaded:
			text = fmt.Sprintf("p%d has the authority's answer, version %d", p, was.load.loaded)
		}
		if is.load.stage == 0 {
			return text + fmt.Sprintf(", and the load ends; L1 holds version %d", is.entries[was.load.key].version)
		}
		return text + fmt.Sprintf("; %s next", map[uint8]string{
			lookingAgain: "looks again", lookingRefresh: "asks L2 to refresh", reading: "asks the authority",
		}[is.load.stage])
	case LoadPast:
		return fmt.Sprintf("p%d begins to load %s past L2, token %d", p, keyName(int(st.x)), st.y)
	case Read, ReadBehind:
		return fmt.Sprintf("the authority is read for p%d: version %d", p, is.load.loaded)
	case Join:
		return fmt.Sprintf("another caller in p%d waits for the load; version %d is in force", p, is.load.floor)
	case LoadAtOnce:
		return fmt.Sprintf("p%d loads %s: L1 holds version %d, L2 version %d", p, keyName(int(st.x)), is.entries[st.x].version, after.redis.values[st.x].version)
	case Fill:
		f := before.fills[st.x]
		return fmt.Sprintf("the server executes the fill of %s with version %d: L2 holds version %d", keyName(int(f.key)), f.version,
			after.redis.values[f.key].version)
	case Commit, CommitMany, CommitAll:
		return fmt.Sprintf("p%d: %s, version %d", p, e, after.version)
	case Invalidate:
		return fmt.Sprintf("the server executes p%d's invalidation of version %d: %s", p, is.change.version, at(is.change.epoch, is.change.seq))
	case Invalidated:
		return fmt.Sprintf("p%d is told that its invalidation is executed", p)
	case InvalidateFails:
		return fmt.Sprintf("p%d's invalidation gets no answer", p)
	case Poll:
		if is.change.late.on == 0 {
			return fmt.Sprintf("the server tells p%d that nobody is left, epoch %s", p, name(is.change.found))
		}
		return fmt.Sprintf("the server tells p%d that p%d is left with %s", p, other(p), at(is.change.late.epoch, is.change.late.seq))
	case Polled:
		return fmt.Sprintf("p%d judges the answer: %s", p, verdict(is.change.stage))
	case SatOut:
		return fmt.Sprintf("p%d has sat out the leases: its Wait returns", p)
	case PollLog:
		return fmt.Sprintf("p%d reads the authority's log up to version %d", p, is.polling)
	case PolledLog:
		return fmt.Sprintf("p%d applies the log", p)
	case LoseValue, LoseLease, LeaseEnds:
		return fmt.Sprintf("%s of %s", e, keyName(int(st.x)))
	case HitBegins:
		return fmt.Sprintf("a reader in p%d begins a hit of %s", p, keyName(int(st.x)))
	case HitEnds:
		return fmt.Sprintf("the reader in p%d ends its hit", p)
	case Ask:
		return fmt.Sprintf("p%d runs another script and sees epoch %s", p, name(after.redis.epoch))
	case Crash, Abandon, FillLost, Evicts:
		return fmt.Sprintf("p%d: %s", p, e)
	}
	return e.String()
}

func verdict(stage uint8) string {
	switch stage {
	case 0:
		return "its Wait returns"
	case sendingAgain:
		return "the epoch has moved, it invalidates again"
	}
	return "it waits"
}
