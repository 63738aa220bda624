"""What the peers run, each in its own environment: no module here imports anything of ours but `terms`."""
