"""Quote the commands that are printed for the user."""

import os
import shlex


def quote(word: str) -> str:
    """Quote one word of a command.

    Args:
        word: The word, such as a path. Bytes that are not UTF-8 are surrogates, as Python reads them.

    Returns:
        The word for a POSIX shell; as `$'…'` if a terminal cannot show it.
    """
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def join(*words: str) -> str:
    """Write a command.

    Args:
        *words: The program and its arguments.

    Returns:
        One line.
    """
    return " ".join(map(quote, words))


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    # Always three digits, because a digit may follow.
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
