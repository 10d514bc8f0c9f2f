"""The tests, the benchmarks and the generator of the documentation's tables."""
