"""What a measuring run knows of its rows, apart from it: with tallies it gives the tables. No torch."""
