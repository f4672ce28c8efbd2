"""The subcommands: one module each, found by its file name; each holds a `command`."""
