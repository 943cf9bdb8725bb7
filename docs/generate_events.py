"""Write docs/events.md from the event types.

python docs/generate_events.py
"""

from __future__ import annotations

from gmemsim.audit import reference

if __name__ == "__main__":
    reference.main()
