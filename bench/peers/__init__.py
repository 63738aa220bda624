"""Other stream processors on the same work, side by side with ours: `python -m bench.peers`."""
