"""The SQLite engine: many processes on one file, without a server."""
