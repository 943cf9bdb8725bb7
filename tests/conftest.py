"""Settings for the whole suite."""

import os
import signal

from hypothesis import settings

# Tables are as wide as they are without a terminal, whatever the caller's shell says.
os.environ.pop("COLUMNS", None)
# A script's background job ignores SIGINT, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixed examples and no wall-clock deadline: a run on a slow machine finds what a fast one finds.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
