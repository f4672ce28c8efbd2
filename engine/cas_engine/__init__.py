"""What to compute, and what need not be. The names for users are in `cas_run`."""
