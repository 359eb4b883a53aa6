"""The embedded demo world: cartoon people, the tiny networks trained on them, and their weights."""
