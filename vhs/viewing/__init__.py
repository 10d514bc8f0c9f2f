"""Pictures of images: contact sheets, and what heads look at."""
