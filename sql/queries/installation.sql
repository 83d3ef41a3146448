-- name: insert_installation
INSERT INTO installation (public_id) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: fetch_installation
SELECT public_id FROM installation;
