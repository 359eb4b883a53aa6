"""What a sentence may quote: names of files and words of other programs, made fit to be shown.

A file's name may hold any bytes and a library's message anything at all. The host's log and its socket
take only text that UTF-8 can encode, and the host's worker thread ends over any other.
"""

import re

# Control characters except tab and line feed, halves of surrogate pairs, and what turns the direction of writing.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
_FOLDERS = re.compile(r"""(?<![\w.:\\/])(?:[A-Za-z]:[\\/]|[\\/]{1,2})(?:[^\\/\s"']+[\\/])*(?=[^\\/\s])""")
_MISTAKEN_FOR_SOMETHING_ELSE = (AssertionError, AttributeError, LookupError, TypeError)


def printable(text: str) -> str:
    """``text`` with what cannot be shown spelled out: a byte of a file's name that is no UTF-8 as \\udcff."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """``printable`` for names, which may hold line breaks and must not look like two lines of a report."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")


def quoted(value: object, most: int = 60) -> str:
    """A value as a sentence shows it: text between quotes and no longer than ``most``, a number as it is, else what it is."""
    if isinstance(value, str):
        text = one_line(value)
        return f'"{text}"' if len(text) <= most else f'"{text[: most - 3]}..."'
    if value is None:
        return "nothing"
    return repr(value) if isinstance(value, (int, float)) else f"a {type(value).__name__}"


def reason(error: Exception, most: int = 120) -> str:
    """Why another program failed, for the brackets of a sentence: its first line, without folders of this computer.

    The advice of PyTorch to load more than weights is not passed on: it would let a file run code.
    """
    if type(error).__name__ == "UnpicklingError":
        return "it holds more than plain weights, which is not loaded because it could run code"
    if isinstance(error, _MISTAKEN_FOR_SOMETHING_ELSE):
        return "it holds something else than it should"
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    line = next(iter(text.strip().splitlines()), "") or type(error).__name__
    return printable(_FOLDERS.sub("", line)[:most].rstrip(". "))
