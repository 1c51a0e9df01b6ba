"""Measurements of the real service: `python -m benchmarks [PART …]` prints them beside their targets."""
