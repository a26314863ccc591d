"""What the documents say is so: commands, files, versions, the configuration that they show."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from esprit import config
from esprit.cli.app import app

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def minimum_cargo() -> str:
    return str(tomllib.loads(text("Cargo.toml"))["workspace"]["package"]["rust-version"])


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_oldest_cargo_is_the_one_that_the_workspace_states(name: str) -> None:
    assert f"rustc {minimum_cargo()} or newer" in text(name)


def test_the_system_check_asks_for_the_same_cargo() -> None:
    assert f'cargo_minimum="{minimum_cargo()}"' in text("tools/system.sh")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert missing == []


def test_files_named_along_the_journey_exist() -> None:
    named = re.findall(
        r"\b((?:port|packet|ipsec|crypto|datapath)/src/[\w/]+(?:\.rs)?)", text("docs/journey.md")
    )
    assert named
    missing = [name for name in named if not (ROOT / "crates" / name).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", text("Makefile"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", code(document)))
    assert named <= targets


def code(document: Path) -> str:
    """Everything in a document that is set as code."""
    content = document.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", content, re.DOTALL))


def readme_commands() -> list[tuple[str, ...]]:
    """Commands of the README's code blocks, each verb of a list by itself."""
    found: list[tuple[str, ...]] = []
    # Between fences, every second part is code; without a language it is a terminal.
    for block in re.split(r"^```", text("README.md"), flags=re.MULTILINE)[1::2]:
        if not block.startswith("\n"):
            continue
        for words in re.findall(r"\besprit ([a-z]+(?: [a-z|]+\b(?!\.))?)", block):
            first, _, verbs = words.partition(" ")
            found += [(first, verb) if verb else (first,) for verb in verbs.split("|")]
    return found


def test_the_readme_shows_commands() -> None:
    assert ("sa", "replace") in readme_commands()


@pytest.mark.parametrize("words", readme_commands(), ids=" ".join)
def test_commands_of_the_readme_exist(words: tuple[str, ...]) -> None:
    found: Any = typer.main.get_command(app)
    for word in words:
        assert word in found.commands
        found = found.commands[word]


def test_the_configuration_of_the_readme_is_accepted() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", text("README.md"), re.DOTALL)
    found = config.read(block)
    assert [member.interface for member in found.members] == ["eth1", "eth2"]
    assert [policy.action for policy in found.policies] == ["protect"]
