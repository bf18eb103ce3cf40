"""Reads with joins, permission or order, one module a noun. Writes are in `annotation.services`."""
