"""Arms of a study: models told apart by everything but their seed, and what can be said of them over seeds."""
