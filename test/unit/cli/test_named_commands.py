"""Every command that a text of jqueue names exists, with the options it is named with."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jqueue
from jqueue.cli.main import VERBS, build_parser

PACKAGE = Path(jqueue.__file__).parent
COMMAND = re.compile(r"`jqueue ([^`]*)`|sudo -u \S+ jqueue ([a-z]+ .*)")
UNKNOWN = "\0"  # stands for what is only known when the text is made


def texts() -> Iterator[tuple[str, str]]:
    """Gives every string in the package, docstrings included, and where it is; an example is put in backquotes."""
    for module in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(module.read_text())
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            where = f"{module.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg == "example" and isinstance(node.value, ast.Constant):
                yield f"{where}example", f"`{node.value.value!s}`"
            elif isinstance(node, ast.JoinedStr):
                pieces = (str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values)
                yield where, "".join(pieces)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                yield where, node.value


def commands() -> Iterator[tuple[str, list[str]]]:
    """Gives the words behind `jqueue` of every command that is named, and where."""
    for where, text in texts():
        for match in COMMAND.finditer(" ".join(text.split())):
            yield where, (match[1] or match[2]).split()


def options(verb: str) -> set[str]:
    [choices] = [action.choices for action in build_parser([verb])._actions if action.dest == "verb"]
    assert isinstance(choices, dict)
    parser = choices[verb]
    assert isinstance(parser, argparse.ArgumentParser)
    return {option for action in parser._actions for option in action.option_strings}


def test_every_command_that_is_named_exists() -> None:
    wrong = []
    named = set()
    for where, (verb, *words) in commands():
        if UNKNOWN in verb or verb.startswith("-"):
            continue
        named.add(verb)
        if verb not in VERBS:
            wrong.append(f"{where}: jqueue {verb}")
            continue
        words = words[: words.index("--")] if "--" in words else words
        wrong += [
            f"{where}: jqueue {verb} {word}" for word in words if word.startswith("-") and word not in options(verb)
        ]
    assert wrong == []
    assert {"fsck", "doctor", "drain", "retry"} <= named, "it looks in the right places"
