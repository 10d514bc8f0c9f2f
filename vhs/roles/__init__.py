"""What a head is and carries: tables of heads, ablations and models taken together. Nothing here imports torch."""
