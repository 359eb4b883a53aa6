"""Measurements of the pack, each in a package of its own, and their committed results."""
