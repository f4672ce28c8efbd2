"""What to compute, and what need not be."""
