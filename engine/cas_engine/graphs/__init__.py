"""From calls to a graph: what is decorated, how its calls are bound and traced, and the columns that keep them."""
