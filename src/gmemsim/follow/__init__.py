"""Follow the trace of a real kernel: is what it did a run of the model?"""
