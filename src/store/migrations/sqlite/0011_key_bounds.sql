-- A key may be an SSH key of the `ollama` command, which signs; `hash` is then that of a secret that nobody has.
ALTER TABLE api_keys ADD COLUMN public_key BLOB CHECK (public_key IS NULL OR length(public_key) = 32);
-- Networks and patterns of models, with commas; NULL is no bound.
ALTER TABLE api_keys ADD COLUMN addresses TEXT;
ALTER TABLE api_keys ADD COLUMN models TEXT;
CREATE UNIQUE INDEX api_keys_public_key ON api_keys (public_key) WHERE public_key IS NOT NULL AND revoked_at IS NULL;
