"""The store, as the engine uses it: dispatches, records, what is to stay, and what it all takes."""
