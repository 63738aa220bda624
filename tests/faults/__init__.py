"""The faults harness: the real stack under seeded faults, held against the offline rating (docs/faults.md)."""
