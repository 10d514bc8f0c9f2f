"""Training small vision transformers."""
