package checkpoint

// Seal and Unseal are the frame, which no caller sees.
var (
	Seal   = seal
	Unseal = unseal
)
