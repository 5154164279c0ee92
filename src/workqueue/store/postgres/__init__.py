"""The PostgreSQL engine; needs the extra `postgres`."""
