"""Input that somebody damaged or made up: whatever it is, a command ends with 0, 1, or 2 and one line."""
