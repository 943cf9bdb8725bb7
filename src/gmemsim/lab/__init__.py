"""The same scenario on the model and on a real kernel: boot it, run it there, compare what came of it."""
