"""Models and functions in worker processes of this machine."""
