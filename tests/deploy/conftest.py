"""The real servers, as fixtures."""

from server_fixtures import postgres, postgres_database, redis_server

__all__ = ["postgres", "postgres_database", "redis_server"]
