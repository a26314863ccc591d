"""What it costs and how fast it is: throughput beside the raw pair, and trials of a live team."""
