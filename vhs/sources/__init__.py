"""Readers of public layouts: each turns a path into splits of labelled, encoded images."""
