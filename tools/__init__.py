"""Programs for whoever works on the pack; none of them is shipped."""
