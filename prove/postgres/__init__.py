"""Throw-away PostgreSQL servers, a pooler in front of them, and a line between them and us that breaks as told."""

from __future__ import annotations

from prove.postgres.server import PostgresServer, versions

__all__ = ["PostgresServer", "versions"]
