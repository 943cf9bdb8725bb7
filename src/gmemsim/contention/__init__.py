"""Lock contention in virtual time: storms of faults, swept over vCPUs, patches and uncertain costs."""
