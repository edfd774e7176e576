"""Names and messages from outside, made safe for the place where they are shown.

Class names, clip ids and error messages come from other people's files. On their way out of the program they are text
and nothing else: no control sequence for a terminal, no markup for a page, no formula for a spreadsheet, no mathematics
for a figure, and no longer than a reader can use.
"""

import re

NAME = 120
"""Most characters of a name that are shown."""
MESSAGE = 1000
"""Most characters of a message that are shown."""
_IN_FIGURES = 40
_JOINERS = "\u200c\u200d"  # they shape letters of Persian, of Hindi and of emoji
_MARKUP = re.compile(r"([\\`*_\[\]<>|#~&!])")
_LINK = re.compile(r"(:)(?=//)|(\bwww)(?=\.)|(@)|(?<=\w)(\.)(?=[^\W\d])", re.IGNORECASE)
_BREAK = "\u2060"  # word joiner: not seen, and no part of an address
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")


def cut(text: str, most: int) -> str:
    """Return a text of at most `most` characters, whose last one is `…` if more were there."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def printable(text: str) -> str:
    """Return a text, of several lines perhaps, in which characters that a terminal would obey are spelled out."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" or one in _JOINERS else _spelled(one) for one in text)


def one_line(text: object, most: int = NAME) -> str:
    """Return a text as one line of printable characters, cut to `most` of them."""
    words = " ".join(str(text)[: 8 * most].split())
    return cut(printable(words), most)


def for_markdown(text: object, most: int = NAME) -> str:
    """Return a text that Markdown shows as it is: without HTML, pictures and links, and in one line."""
    return _LINK.sub(rf"\g<0>{_BREAK}", _MARKUP.sub(r"\\\1", one_line(text, most)))


def as_code(text: object, most: int = MESSAGE) -> str:
    """Return a text as a code span of Markdown, which ends where the text does."""
    return f"`{one_line(text, most).replace('`', chr(39))}`"


def for_figure(text: object, most: int = _IN_FIGURES) -> str:
    """Return a text that matplotlib draws as it is: a dollar sign begins no formula."""
    return one_line(text, most).replace("\\$", "$").replace("$", r"\$")


def for_csv(value: object) -> object:
    """Return a cell that a spreadsheet takes for a text: one that begins like a formula gets a `'` before it."""
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if _FORMULA.match(value) and not _is_number(value) else printable(value)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
