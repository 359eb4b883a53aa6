"""Pictures of text, lines and frames, drawn by Pillow alone; who draws them says what they show."""
