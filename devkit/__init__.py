"""What tests, benchmarks and tools share; none of it is shipped."""
