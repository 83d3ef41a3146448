-- name: fetch_connection_limit
-- How many connections the server grants to users that are nothing special.
SELECT sum(CASE name WHEN 'max_connections' THEN setting::integer ELSE -setting::integer END)
FROM pg_settings
WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections');

-- name: fetch_server
SELECT current_setting('server_version_num')::integer AS version, current_setting('server_encoding') AS encoding,
       current_setting('transaction_read_only')::boolean AS is_read_only;

-- name: fetch_backend
SELECT pg_backend_pid();

-- name: notify_channel
SELECT pg_notify($1, '');
