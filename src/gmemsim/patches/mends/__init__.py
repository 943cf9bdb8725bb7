"""Candidate mends of findings: each a change to a patch version that nobody posted, `VERSION+NAME`."""
