"""Scenarios: the TOML format, its loader, the library, and sessions that run one on a patch version.

`scenario.load` and `catalogue.load_named` give a `Scenario`, `session.build` makes a `Session` of it.
"""
