"""Ways to damage files, blindly and by their kind."""
