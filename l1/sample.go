package l1

// sampleReach bounds how many buckets Sample looks at.
const sampleReach = 4096

// Sample answers some entry that the cache holds, chosen by a random number, whether or not it may still be answered; false
// if it finds none nearby. It takes no lock. Entries behind a long run of empty buckets are chosen more often.
func (c *Cache[K, V]) Sample(random uint64) (*Entry[K, V], bool) {
	for i := range uint64(sampleReach) {
		bucket := &c.table.buckets[(random+i)&c.table.mask]
		length := uint64(0)
		for n := bucket.Load(); n != nil; n = n.next.Load() {
			length++
		}
		if length == 0 {
			continue
		}
		n := bucket.Load()
		for skip := random >> 32 % length; skip > 0 && n != nil; skip-- {
			n = n.next.Load()
		}
		if n != nil { // a writer may have been faster
			return &n.Entry, true
		}
	}
	return nil, false
}
