"""Settings for the whole suite."""

from hypothesis import settings

# A fixed sequence of examples and no wall-clock deadline: a run on a slow machine finds what a fast one finds.
settings.register_profile("default-reproducible", derandomize=True, deadline=None)
settings.load_profile("default-reproducible")
