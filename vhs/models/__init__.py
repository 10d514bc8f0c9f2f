"""Vision transformers: how they are built, and the seam where their heads lie apart."""
