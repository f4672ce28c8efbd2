"""What cas-run costs and what it gets right, beside the limits of the machine and beside its peers."""
