"""Scripts that render the demo world's data and train every demo network, see ``all.py``."""
