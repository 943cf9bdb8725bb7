"""Campaigns of many cells: processes and clusters that share them, and the file that a campaign goes on from."""
