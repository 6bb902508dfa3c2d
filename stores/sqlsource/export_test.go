package sqlsource

// Unlink forgets a driver, as if its package had not been imported, until restore.
func Unlink(scheme string) (restore func()) {
	driversMu.Lock()
	defer driversMu.Unlock()
	d := drivers[scheme]
	delete(drivers, scheme)
	return func() { RegisterDriver([]string{scheme}, d) }
}
