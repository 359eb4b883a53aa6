"""Is it the person, does it still move, is the rest untouched: metrics, and pictures of them."""
