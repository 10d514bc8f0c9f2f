"""Who of two models answers an image right."""

CELLS = ("neither", "own", "other", "both")
"""The first model, the other one; in the order in which they are tallied."""
