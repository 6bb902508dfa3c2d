package protocol

// Granted says that a renewal was answered whose lease waits for messages that are still on their way.
func (r *Receiver) Granted() bool { return len(r.grants) > 0 }
