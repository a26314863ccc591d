"""Throughput of a pair of teams beside the raw pair, and ESP in memory beside the bare cipher."""
