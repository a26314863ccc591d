"""model/ and modes/ decide from what they are given: no I/O, no clock, no chance."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import esprit

PACKAGE = Path(esprit.__file__).parent
FORBIDDEN = {"asyncio", "socket", "time", "random", "os", "pyroute2", "_native"}
#: Beside what must not be there: the only parts of the standard library that are needed.
ALLOWED = {
    "__future__",
    "collections",
    "dataclasses",
    "difflib",
    "esprit",
    "functools",
    "hashlib",
    "hmac",
    "ipaddress",
    "operator",
    "types",
    "typing",
}
FILES = sorted([*(PACKAGE / "model").glob("**/*.py"), *(PACKAGE / "modes").glob("**/*.py")])


def _only_for_types(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules that a file imports when it runs, also inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.stmt) and _only_for_types(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imported(node)


def modules(path: Path) -> set[str]:
    return set(imported(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_asked_of_the_world(path: Path) -> None:
    found = modules(path)
    for name in found:
        assert not FORBIDDEN & set(name.split(".")), name
        assert name.split(".")[0] in ALLOWED, name
    ours = {name for name in found if name.startswith("esprit.")}
    assert all(name.startswith(("esprit.model", "esprit.modes", "esprit.errors")) for name in ours)


def test_the_walk_sees_what_is_imported_inside_a_function() -> None:
    tree = ast.parse("def f():\n    if True:\n        import os.path\n    from time import time\n")
    assert {"os.path", "time", "time.time"} <= set(imported(tree))


def test_the_walk_passes_over_what_only_types_need() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    from esprit import _native\nimport typing\n")
    assert set(imported(tree)) == {"typing"}


def test_the_model_depends_on_no_mode() -> None:
    for path in (PACKAGE / "model").glob("**/*.py"):
        assert not any(name.startswith("esprit.modes") for name in modules(path)), path


def test_there_is_something_to_walk() -> None:
    assert len(FILES) > 10
