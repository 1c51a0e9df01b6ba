"""Drawings of the graphs of workflows: a layered layout, and the notations that show it."""
