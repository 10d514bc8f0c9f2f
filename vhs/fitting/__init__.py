"""A training run: data in, a checkpoint out."""
