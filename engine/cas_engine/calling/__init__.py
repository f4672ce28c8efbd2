"""One call: what it is given, where it runs, what it prints. Knows no store to write to, and no graph."""
