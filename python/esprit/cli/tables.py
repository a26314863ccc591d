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


def one(file: str, kind: str) -> Table:
    """Read one table: the file's top level, or its only ``[[kind]]``.

    Raises:
        ConfigUnreadable, ConfigSyntax: the file cannot be read, or is no TOML.
        BadRequest: it holds several tables of that kind.
    """
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


def sa(file: str) -> Table:
    """Read one SA; a ``key_file`` is read here, relative to the file, for the daemon reads none."""
    table = one(file, "sa")
    name = table.pop("key_file", None)
    if isinstance(name, str) and "key" not in table:
        folder = Path() if file == "-" else Path(file).parent
        try:
            table["key"] = (folder / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigUnreadable(str(folder / name), "cannot be read as a key") from error
    return table
