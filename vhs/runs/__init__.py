"""What commands and notebooks share: conditions, decoded data, the sweep and its journal."""
