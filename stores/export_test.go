package stores

// Key is a key of a file, as the tests see it.
type Key struct{ Path, Kind, Variable string }

// Keys are all keys.
func Keys() (all []Key) {
	for _, k := range keys() {
		all = append(all, Key{k.path, k.kind, k.variable()})
	}
	return all
}
