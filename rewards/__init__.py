"""The reward models: identity consistency (Eq. 2) and semantic consistency (Eqs. 3 and 4)."""
