"""All that comes before anything runs: inputs bound, code recorded, mistakes told."""
