"""Bytes on disk to nouns and back."""
