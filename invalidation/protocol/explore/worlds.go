package explore

// The two processes of a world.
const (
	p0 = 1 << iota
	p1
	both = p0 | p1
)

// Worlds are the sizes that CI explores, or with large those that take longer.
func Worlds(large bool) []World {
	// What worlds are made of: leases with loads as one step, and loads in all their steps without time.
	leases := Tick | Renewing | Receiving | LoadAtOnce | Changing | Waiting | Ask
	fills := Message | Loading | LeaseEnds | FillLost | Changing
	pick := func(small, big int) int {
		if large {
			return big
		}
		return small
	}
	var rest Events // faults that other worlds of CI's size have
	if large {
		rest = LosingState | FlushAll | RenewFailed | Crash | Pure
	}
	worlds := []World{
		{
			Name: "leases", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 2, Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Leave | LoseAcks | InvalidateFails | rest,
		},
		{
			Name: "leases of three ticks", Keys: 1, Versions: 2, Bound: 3, Budget: pick(0, 1), Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Pure | LosingState,
		},
		{
			Name: "three versions", Keys: 1, Versions: 3, Bound: 2, Budget: pick(0, 1), Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Abandon | LosingState | Leave,
		},
		{
			Name: "acks over epochs", Keys: 1, Versions: 3, Bound: 1, Budget: 1, Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Abandon | LoseEpoch,
		},
		{
			Name: "failover", Keys: 1, Versions: 2, Bound: 1, Budget: pick(1, 2), Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Image | Failover | LosingState | Crash,
		},
		{
			Name: "loss and failover", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 2, Writers: p0, Readers: p1, Renewers: p1,
			Events: Tick | Renewing | LoadAtOnce | Changing | SatOut | Image | Failover | LoseBirth | LoseEpoch,
		},
		{
			Name: "everything invalidated", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 1, Writers: p0, Readers: p1, Renewers: p1,
			Events: leases&^Commit | CommitAll | CommitMany | LosingState,
		},
		{
			Name: "own writes", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: pick(1, 2), Writers: p0, Readers: p0, Renewers: p0,
			Events: leases&^Ask | Leave | LosingState | FlushAll | RenewFailed | InvalidateFails,
		},
		{
			Name: "both write", Keys: 1, Versions: 3, Bound: 1, Budget: pick(0, 1), Writers: both, Readers: p1, Renewers: p1,
			Events: leases | LosingState,
		},
		{
			Name: "both hold leases", Keys: 1, Versions: 2, Bound: 1, Budget: 1, Writers: p0, Readers: both, Renewers: both, Cold: true,
			Events: leases&^Ask | LosingState, MaxDepth: pick(13, 18),
		},
		{
			Name: "hits in two reads", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 1, Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | HitBegins | HitEnds | LosingState,
		},
		{
			Name: "two keys", Keys: 2, Versions: 3, Bound: 1, Budget: 0, Writers: p0, Readers: p1, Renewers: p1,
			Events: leases | Abandon, MaxDepth: pick(14, 0),
		},
		{
			Name: "fills", Keys: 1, Versions: 2, Bound: 1, Budget: 1, Writers: p0, Readers: both, Renewers: p1,
			Events: fills | LosingIDs | LosingState | LookFailed, MaxDepth: pick(16, 0),
		},
		{
			Name: "fills of three versions", Keys: 1, Versions: 3, Bound: 1, Budget: 0, Writers: p0, Readers: uint8(pick(p1, both)), Renewers: p1,
			Events: fills | Abandon,
		},
		{
			Name: "fills without versions", Keys: 1, Versions: 2, Bound: 1, Budget: 1, Writers: p0, Readers: both, Renewers: p1, Unversioned: true,
			Events: fills | LosingIDs, MaxDepth: pick(20, 0),
		},
		{
			Name: "fills and failover", Keys: 1, Versions: 2, Bound: 1, Budget: pick(1, 2), Writers: p0, Readers: p1, Renewers: p1, Unversioned: true,
			Events: fills | Renewing | Image | Failover | LosingState, MaxDepth: pick(20, 0),
		},
		{
			Name: "joins", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 0, Writers: p0, Readers: p1, Renewers: p1,
			Events: fills&^(FillLost|LeaseEnds) | Join | Tick | Renewing | GapClosed | Waiting | Leave,
		},
		{
			Name: "authority behind", Keys: 1, Versions: 2, Bound: 1, Budget: 2, Writers: p0, Readers: both, Renewers: p1, Tokens: true,
			Events: fills&^(FillLost|LeaseEnds) | LoadPast | ReadBehind, MaxDepth: pick(16, 0),
		},
		{
			Name: "authority polled", Keys: 1, Versions: pick(2, 3), Bound: 1, Budget: 1, Writers: p0, Readers: p1, Renewers: p1, Tokens: true,
			Events: fills | PollingLog | LosingIDs,
		},
		{
			Name: "weak", Keys: 1, Versions: 2, Bound: pick(1, 2), Budget: 1, Writers: p0, Readers: p1, Renewers: p1, Weak: true,
			Events: fills&^(FillLost|LeaseEnds) | Renewing | PollingLog | Image | Failover | Reset, MaxDepth: pick(20, 0),
		},
	}
	if large {
		for i := range worlds {
			worlds[i].MaxStates = maxStates
		}
	}
	return worlds
}

// maxStates keeps one large world below 2 GiB.
const maxStates = 12_000_000
