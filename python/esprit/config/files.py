"""Reading: the files with the configuration and the keys, and who else can read them."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from esprit.config import build, checks
from esprit.config.problems import Problem, problems
from esprit.config.schema import (
    EngineTable,
    FileTable,
    MemberTable,
    PolicyTable,
    SaTable,
    SettingsTable,
    Table,
)
from esprit.config.values import KeyText
from esprit.errors import ConfigInvalid, ConfigSyntax, ConfigUnreadable, KeyExposed
from esprit.model.event import SettingsChanged
from esprit.model.key import Key
from esprit.model.security import Policy, SecurityAssociation
from esprit.model.spec import EngineSpec, MemberSpec, TeamConfig

#: A key file holds 72 digits and a line's end; what is larger is another file.
_KEY_FILE_LIMIT = 1024
#: Some 200 bytes each for thousands of SAs and policies.
_CONFIG_LIMIT = 16 << 20


def load(path: Path | str) -> TeamConfig:
    """Read and check a file.

    Raises:
        ConfigUnreadable: it is not there, or may not be read.
        ConfigSyntax: it is no TOML.
        ConfigInvalid: keys or values are wrong; all faults at once.
        KeyExposed: it holds keys, and others can read it.
    """
    return load_all([path])[0]


def load_all(paths: Sequence[Path | str]) -> tuple[TeamConfig, ...]:
    """Read and check files, each by itself and against the others.

    Raises:
        As :func:`load`.
    """
    found = []
    for path in map(Path, paths):
        text, private = _read(path)
        data = _toml(text, str(path))
        if not private and _holds_keys(data):
            raise KeyExposed(str(path))
        found.append(_config(data, source=str(path), folder=path.parent))
    overlaps = list(checks.between(found))
    if overlaps:
        raise _invalid(overlaps)
    return tuple(found)


def read(text: str, *, source: str = "configuration", folder: Path | None = None) -> TeamConfig:
    """Check the text of a file; relative ``key_file`` paths begin at ``folder``.

    Raises:
        ConfigSyntax, ConfigInvalid: as :func:`load`.
    """
    return _config(_toml(text, source), source=source, folder=folder)


def member(table: Mapping[str, object], *, source: str = "member") -> MemberSpec:
    """Check one ``[[member]]``, as a request brings it.

    Raises:
        ConfigInvalid: keys or values are wrong.
    """
    return build.member(_one(MemberTable, table, source, "member"))


def settings(table: Mapping[str, object], *, source: str = "team") -> SettingsChanged:
    """Check what a request wants changed of a running team.

    Raises:
        ConfigInvalid: keys or values are wrong.
    """
    return build.settings(_one(SettingsTable, table, source, "settings"))


def engine(
    table: Mapping[str, object], *, member: str | None = None, source: str = "engine"
) -> EngineSpec:
    """Check one ``[[engine]]``, as a request brings it.

    Args:
        table: What it says.
        member: The interface of the member whose own it is; None: it belongs to none.
        source: For messages.

    Raises:
        ConfigInvalid: keys or values are wrong.
    """
    asked = _one(EngineTable, table, source, "engine")
    if member is not None:
        if asked.kind == "cpu":
            text = 'is no device of the member; leave the member out, or write "asic"'
            raise _invalid([Problem(source=source, where="kind", text=text)])
        return build.own_engine(asked, member)
    found = build.engine(asked)
    if not found.name:
        raise _invalid([Problem(source=source, where="name", text="is missing; add it")])
    if not found.lookaside:
        text = "has no interface whose traffic could pass through it; set lookaside = true"
        raise _invalid([Problem(source=source, where="lookaside", text=text)])
    return found


def sa(table: Mapping[str, object], *, source: str = "sa") -> SecurityAssociation:
    """Check one ``[[sa]]``, as a request brings it: with its ``key``, not with a ``key_file``.

    Raises:
        ConfigInvalid: keys or values are wrong.
    """
    found = _one(SaTable, table, source, "sa")
    if found.key is None:
        text = "is not read for a request; send the key itself"
        raise _invalid([Problem(source=source, where="key_file", text=text)])
    return build.sa(found, found.key)


def policy(table: Mapping[str, object], *, source: str = "policy") -> Policy:
    """Check one ``[[policy]]``, as a request brings it.

    Raises:
        ConfigInvalid: keys or values are wrong.
    """
    return build.policy(_one(PolicyTable, table, source, "policy"))


T = TypeVar("T", bound=Table)


def _one(model: type[T], table: Mapping[str, object], source: str, place: str) -> T:
    try:
        return model.model_validate(dict(table))
    except ValidationError as error:
        # The original error would show what was written, keys among it.
        raise _invalid(problems(source, error, table, place=(place,))) from None


def _config(data: Mapping[str, object], *, source: str, folder: Path | None) -> TeamConfig:
    try:
        table = FileTable.model_validate(data)
    except ValidationError as error:
        raise _invalid(problems(source, error, data)) from None
    keys, faults = _keys(table.sa, source=source, folder=folder)
    if faults:
        raise _invalid(faults)
    config = build.config(table, source=source, keys=keys)
    found = list(checks.within(config))
    if found:
        raise _invalid(found)
    return config


def _keys(
    tables: Iterable[SaTable], *, source: str, folder: Path | None
) -> tuple[tuple[Key, ...], list[Problem]]:
    keys, faults = [], []
    for table in tables:
        if table.key is not None:
            keys.append(table.key)
            continue
        path = Path(folder or ".", table.key_file or "")
        try:
            keys.append(_key_file(path))
        except _KeyFileError as fault:
            where = f"sa {table.name}: key_file"
            faults.append(Problem(source=source, where=where, text=f"{path} {fault}"))
    return tuple(keys), faults


class _KeyFileError(Exception):
    """What is wrong with a key file, with its remedy."""


def _key_file(path: Path) -> Key:
    try:
        text, private = _text_of(path, _KEY_FILE_LIMIT)
    except OSError as error:
        raise _KeyFileError(f"cannot be read: {error.strerror}; check its path and owner") from None
    except ValueError:
        raise _KeyFileError("is no key file; it holds one line of hexadecimal digits") from None
    if not private:
        raise _KeyFileError(
            "can be read by others; chmod 600 it, and make a new key if it may be known"
        )
    try:
        return TypeAdapter(
            KeyText, config={"arbitrary_types_allowed": True, "hide_input_in_errors": True}
        ).validate_python(text.strip())
    except ValidationError as error:
        message = error.errors(include_input=False, include_url=False)[0]["msg"]
        raise _KeyFileError(f"has no key: it {message}") from None


def _read(path: Path) -> tuple[str, bool]:
    remedy = None
    try:
        return _text_of(path, _CONFIG_LIMIT)
    except PermissionError as error:
        remedy, text = "run as root, or as its owner", error.strerror or "no permission"
    except OSError as error:
        text = error.strerror or "it cannot be opened"
    except ValueError:
        text, remedy = "it is no text in UTF-8 of sensible size", "check the path"
    raise ConfigUnreadable(str(path), f"cannot be read: {text}", remedy=remedy)


def _text_of(path: Path, limit: int) -> tuple[str, bool]:
    """The text of a file, and whether only its owner (root or ourselves) can read it.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is no plain file, too large, or no UTF-8.
    """
    # Not blocking, for a FIFO would wait for its writer; asked of the open file, for a path
    # may lead elsewhere by then.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError("too large")
    mode = stat.S_IMODE(status.st_mode)
    private = not mode & (stat.S_IRWXG | stat.S_IRWXO) and status.st_uid in (0, os.geteuid())
    return content.decode(), private


def _toml(text: str, source: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its text says where and what was expected, and quotes no value.
        raise ConfigSyntax(source, f"is no TOML: {error}") from None
    except RecursionError:
        raise ConfigSyntax(source, "is nested too deep") from None


def _holds_keys(data: Mapping[str, object]) -> bool:
    tables = data.get("sa")
    return isinstance(tables, list) and any(
        isinstance(table, dict) and "key" in table for table in tables
    )


def _invalid(found: Sequence[Problem]) -> ConfigInvalid:
    return ConfigInvalid(found[0].source, lines=tuple(str(problem) for problem in found))
