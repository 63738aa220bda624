"""`python -m pipeline` is the command `usage`."""

from pipeline.cli import main

main()
