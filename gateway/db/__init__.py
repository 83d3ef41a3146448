"""Postgres: the pool, the schema, and one module per group of queries. The only room that knows asyncpg."""
