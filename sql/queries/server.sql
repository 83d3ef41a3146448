-- name: fetch_connection_limit
-- How many connections the server grants to users that are nothing special.
SELECT sum(CASE name WHEN 'max_connections' THEN setting::integer ELSE -setting::integer END)
FROM pg_settings
WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections');
