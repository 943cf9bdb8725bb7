"""Open design questions of guest_memfd (docs/spec/guest-memfd.md, section 9), answered by storms: one module each."""
