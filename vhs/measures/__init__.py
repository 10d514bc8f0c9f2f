"""What vhs measures: tallies over batches, and statistics over tallies."""
