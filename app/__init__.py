"""The graph, its runs and their reports, and the command line."""
