"""Code and values as bytes, and back: by name where this process has the same, by value elsewhere."""
