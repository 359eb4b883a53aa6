"""The pack's nodes, one in each file: its schema, its checks, and what it shows and saves."""
