"""How modules come to be: imported side by side, not from outdated bytecode, or out of a capsule."""
