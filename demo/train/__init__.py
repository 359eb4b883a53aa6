"""Scripts that render the data of the demo world and train all of its networks; ``all.py`` runs them."""
