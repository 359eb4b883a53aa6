"""The host's step caches (EasyCache, LazyCache) make a fresh step where the adapter begins or ceases to act.

They predict a step from earlier ones while what has changed since the last fresh one stays below a threshold. That an
adapter has begun to act is a change that they cannot see, so it is told them.
"""

import math

CACHE = "easycache"  # the name of both in transformer_options


def has_step_cache(transformer_options: dict) -> bool:
    return CACHE in transformer_options


def make_fresh(transformer_options: dict) -> None:
    """The next step that the cache decides upon is computed. Touches what the host has made for this sampling alone."""
    transformer_options[CACHE].cumulative_change_rate = math.inf
