"""Fewer heads: which go, how far, and the file that is left."""
