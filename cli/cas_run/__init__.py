"""Every way in: `import cas_run as ct`, and the command."""
