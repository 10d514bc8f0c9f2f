"""Tables to tables: correlations, contrasts, roll-ups, worst groups, corruption errors. Nothing here imports torch."""
