"""Is it the person, does it still move, is the rest untouched: metrics and the pictures of a report."""
