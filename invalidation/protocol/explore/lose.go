package explore

// lose is what befalls Redis.
func (x *explorer) lose(s *state, st step) {
	r := &s.redis
	switch st.event() {
	case LoseEpoch:
		r.epoch = 0
	case LoseCounter:
		r.counter = 0
	case LoseBirth:
		r.birth = 0
	case LoseAcks:
		r.acks, r.regs = 0, [processes]registration{}
	case LoseValue:
		r.values[st.x] = value{}
	case LoseLease:
		r.leases[st.x] = lease{}
	case LeaseEnds:
		r.leases[st.x].epoch, r.leases[st.x].nonce = 0, 0
	case FlushAll:
		*r = redis{}
	case Image:
		s.image, s.imaged = s.redis, 1
	case Failover:
		s.redis, s.image, s.imaged = s.image, redis{}, 2
		if s.replid != hidden {
			s.replid++
		}
	}
	for p := range s.procs {
		if r.regs[p].on == 0 {
			x.changed(s, p)
		}
	}
}
