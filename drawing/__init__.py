"""Pictures of text, lines and frames, drawn with Pillow alone. What they show is up to the caller."""
