package policy

// At is the door to Decision.at.
func (d Decision) At(asOf uint64) Decision { return d.at(asOf) }
