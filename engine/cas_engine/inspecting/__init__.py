"""Looking back: what there is, what differs and why, and whether it can be trusted."""
