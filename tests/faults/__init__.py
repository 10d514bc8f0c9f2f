"""Faults on purpose: kills, full disks, runs that meet, damaged files, closed streams. See __main__.py."""
