"""What versions of guest_memfd get wrong, as values: one table for commands, reports, campaigns, pages and tests."""
