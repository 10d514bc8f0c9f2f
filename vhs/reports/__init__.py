"""Tables, outcomes and maps to one page that needs nothing else, and to a model card. Never torch."""
