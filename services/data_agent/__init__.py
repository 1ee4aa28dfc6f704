"""The data agent: reads, transforms, queries, checks and describes tabular data."""
