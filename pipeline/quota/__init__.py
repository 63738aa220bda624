"""The quota records of customers, kept in memory: what gates and the API answer from."""
