"""Measurements: what they measure is what their module says; results print the machine."""
