"""Settings for the whole suite."""

from hypothesis import settings

# Fixed examples and no wall-clock deadline: a run on a slow machine finds what a fast one finds.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
