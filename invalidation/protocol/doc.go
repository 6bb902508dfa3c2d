// Package protocol is the coherence protocol as pure rules: no I/O, no clock, no goroutine, no lock.
//
// The packages around it move bytes and read clocks; every decision on which the staleness bound rests is taken here,
// so that what ships is also what is explored, simulated and attacked by mutants.
//
//	Receiver   what one process knows of one partition: messages, gaps, renewals, and until when L1 may answer
//	Wait       when an invalidation is in force in every process
//	Load       what to do with what L2 and the authority answered
//	Flight     whether a caller may join a load that somebody else began
//
// A Receiver is driven by one event at a time and answers with the actions to carry out, in order:
//
//	for _, a := range receiver.Message(now, m, buf[:0]) {
//		switch a.Kind {
//		case protocol.Evict: …
//		}
//	}
//
// Nothing here is safe for concurrent use: the caller serialises the events of a partition and carries out the actions
// of one event before it delivers the next.
package protocol
