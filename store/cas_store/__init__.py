"""Bytes by digest, rows by key; has never heard of electrons."""
