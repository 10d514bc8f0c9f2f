"""Benchmarks: ours and the alternative, alternating in one process, with the ratio."""
