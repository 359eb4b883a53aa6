"""Amounts in the words that people use."""


def in_words(size: float) -> str:
    """``size`` bytes in megabytes or gigabytes, whichever fits."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def in_time(seconds: float) -> str:
    """``seconds`` in seconds, minutes or hours, whichever fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
