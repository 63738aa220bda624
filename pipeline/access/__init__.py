"""API keys and who may do what: kept in `access.keys` as hashes, decided in one place, deny by default."""
