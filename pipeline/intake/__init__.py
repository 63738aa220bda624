"""Records that come in or come back by hand: signed batches of offline deployments, dead letters."""
