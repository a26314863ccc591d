"""Tables that a command sends: from a file, from standard input, or from words."""

import sys
import tomllib
from pathlib import Path

from esprit.errors import BadRequest, ConfigSyntax, ConfigUnreadable

Table = dict[str, object]


def pairs(words: list[str]) -> Table:
    """Read ``KEY=VALUE`` words; a value that is TOML (a number, true, a list) is taken as such."""
    table: Table = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadRequest(word, "is not KEY=VALUE", remedy="write for instance kind=cpu")
        table[key] = _value(value)
    return table


def _value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def one(words: list[str], kind: str) -> Table:
    """Read one table: from a file, from standard input (``-``), or from ``KEY=VALUE`` words.

    A file holds the keys at its top level, or in its only ``[[kind]]``.

    Raises:
        ConfigUnreadable, ConfigSyntax: the file cannot be read, or is no TOML.
        BadRequest: it holds several tables of that kind.
    """
    if len(words) != 1 or "=" in words[0]:
        return pairs(words)
    (file,) = words
    shown = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigUnreadable(shown, f"cannot be read: {reason}") from error
    try:
        found: Table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigSyntax(shown, f"is no TOML: {error}") from error
    nested = found.get(kind)
    if nested is None:
        return found
    if not isinstance(nested, list) or len(nested) != 1 or len(found) != 1:
        raise BadRequest(shown, f"holds more than one {kind}", remedy="give one at a time")
    table: Table = nested[0]
    return table


def sa(words: list[str]) -> Table:
    """Read one SA. A ``key_file`` is read here, for the daemon reads none.

    Its path is relative to the file that names it.

    Raises:
        BadRequest: the key itself stands on the command line.
    """
    table = one(words, "sa")
    from_file = len(words) == 1 and "=" not in words[0]
    if "key" in table and not from_file:
        raise BadRequest(
            "key", "would be seen in the list of processes", remedy="name a file: key_file=PATH"
        )
    name = table.pop("key_file", None)
    if isinstance(name, str) and "key" not in table:
        folder = Path(words[0]).parent if from_file and words[0] != "-" else Path()
        try:
            table["key"] = (folder / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigUnreadable(str(folder / name), "cannot be read as a key") from error
    return table
