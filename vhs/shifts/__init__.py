"""Distribution shifts as batched tensor code. Numbers in, numbers out."""
