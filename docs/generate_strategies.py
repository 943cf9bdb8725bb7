"""Write the figures of docs/strategies.md from bench/pct_bound.py, those of docs/testing.md from bench/classes.py.

python docs/generate_strategies.py
"""

from __future__ import annotations

from generate_speed import write

if __name__ == "__main__":
    write("strategies.md", "pct_bound.py")
    write("testing.md", "classes.py")
