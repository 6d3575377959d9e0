"""Writes the generated parts of the pages below doc/, man pages included: `make doc`; with --check it only compares.

What is written by hand stays. A generated part stands between two comments, `generated: NAME` and `end`; it comes from
the tables that the code itself uses: the parsers of the command line, the configuration, opcodes, methods, fields, the
lifecycle. An image is generated as a whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import drawing
from jqueue.cli.main import build_parser
from jqueue.config import Config
from jqueue.daemon.main import parser as daemon_parser
from jqueue.jobs.fields import FIELDS
from jqueue.jobs.lifecycle import STATES, TRANSITIONS, UNDEFINED, VERBS
from jqueue.opcodes.base import OpCode
from jqueue.opcodes.params import MISSING, Param
from jqueue.opcodes.registry import BUILT_IN, Registry
from jqueue.rpc.methods import METHODS, Method

DOC = Path(__file__).resolve().parent

_PART = re.compile(
    r"""
    ^(?P<open>(?:<!--|\.\\")[ ]generated:[ ](?P<name>[a-z-]+)(?:[ ]-->)?\n)
    (?P<old>.*?)
    (?P<end>^(?:<!--|\.\\")[ ]end(?:[ ]-->)?)$
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_ALWAYS = "always"
"""The options that every verb has; they are told once."""


def pages() -> list[Path]:
    """Gives the files that may have generated parts."""
    return sorted([*DOC.rglob("*.md"), *(DOC / "man").glob("*.[1-8]")])


def renewed(text: str) -> str:
    """Gives a page with its generated parts as they should be.

    @raise KeyError: it asks for a part that nobody makes
    """
    return _PART.sub(lambda part: f"{part['open']}{PARTS[part['name']]()}{part['end']}", text)


def stale() -> Iterator[tuple[Path, str]]:
    """Gives the files that are not as they should be, and what should be in them."""
    for page in pages():
        text = page.read_text()
        if (should_be := renewed(text)) != text:
            yield page, should_be
    for image, draw in IMAGES.items():
        if not image.exists() or image.read_text() != draw():
            yield image, draw()


# Markdown


def _table(heads: str, rows: Iterable[Iterable[str]]) -> str:
    titles = heads.split(", ")
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def _default(declared: Param) -> str:
    if declared.default is not MISSING:
        return f"`{json.dumps(declared.default)}`"
    return "must be given" if declared.default_factory is None else f"`{json.dumps(declared.default_factory())}`"


def _parameters(parameters: Mapping[str, Param]) -> str:
    rows = ((f"`{name}`", each.kind.name, _default(each), each.doc) for name, each in parameters.items())
    return _table("parameter, type, default, meaning", rows)


def _common_parameters() -> str:
    return _parameters({name: each for name, each in OpCode.parameters.items() if name != "lock_paths"})


def _opcodes() -> str:
    registry = Registry()
    registry.load(None, BUILT_IN)
    return "\n".join("\n".join(_opcode(cls)) for cls in registry)


def _opcode(cls: type[OpCode]) -> Iterator[str]:
    yield f"## {cls.OP_ID}\n"
    yield inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    result = (inspect.getdoc(cls.exec) or "").partition("; ")[2]
    if result:
        yield result[0].upper() + result[1:]
    yield f"Cancel while it runs: {'yes' if cls.stoppable else 'no'}."
    yield f"After a crash of the daemon: {'undone, and run again' if cls.restartable else 'error'}."
    yield f"Dry run: {'yes' if cls.supports_dry_run else 'no, `dry_run` is refused'}.\n"
    yield _parameters({name: each for name, each in cls.parameters.items() if name not in OpCode.parameters})


def _fields() -> str:
    return _table("field, kind, meaning", ((f"`{each.name}`", each.kind, each.doc) for each in FIELDS.values()))


def _transitions() -> str:
    rows = (
        (f"`{state}`", ", ".join(f"`{after}`" for after in STATES if after in TRANSITIONS[state]) or "none")
        for state in (UNDEFINED, *STATES)
    )
    return _table("state, states that may follow", rows)


def _lifecycle_verbs() -> str:
    states = [state for state in STATES if any(state in legal for legal in VERBS.values())]
    rows = ((f"`{verb}`", *("yes" if state in legal else "" for state in states)) for verb, legal in VERBS.items())
    return _table(", ".join(["verb", *(f"`{state}`" for state in states)]), rows)


def _methods() -> str:
    return "\n".join("\n".join(_method(method)) for method in METHODS.values())


def _method(method: Method) -> Iterator[str]:
    yield f"## {method.name}\n"
    yield f"`{method}`: {method.doc}"
    yield f"Result: {method.result}. Role: {method.permission}.\n"
    for each in method.parameters:
        yield f"- `{each.name}` ({each.kind.name}): {each.doc}"
    if method.parameters:
        yield ""


def _settings() -> Iterator[tuple[str, str, str, str, str]]:
    """Gives section, its meaning, setting, default and meaning of each."""
    for section in dataclasses.fields(Config):
        settings = getattr(Config(), section.name)
        about = inspect.cleandoc(type(settings).__doc__ or "")
        for each in dataclasses.fields(settings):
            default = each.metadata["default"]
            yield section.name, about, each.name, "null" if default is None else str(default), each.metadata["doc"]


def _settings_table() -> str:
    rows = ((f"`{section}.{name}`", f"`{default}`", doc) for section, _, name, default, doc in _settings())
    return _table("setting, default, meaning", rows)


def _verbs_table() -> str:
    rows = ((f"`{_synopsis(parser)}`", f"{_sentence(parser)}.") for parser in _verbs())
    return _table("command, what it does", rows)


# The command line


def _verbs() -> Iterator[argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _sentence(parser: argparse.ArgumentParser) -> str:
    return (parser.description or "").rstrip(".")


def _name(action: argparse.Action) -> str:
    return str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))


def _operand(action: argparse.Action) -> str:
    name = _name(action)
    if action.nargs == argparse.REMAINDER:
        return f"-- {name} [ARG ...]"
    return {"*": f"[{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name)


def _synopsis(parser: argparse.ArgumentParser) -> str:
    operands = [_operand(action) for action in parser._actions if not action.option_strings]
    return " ".join([parser.prog, "[OPTION ...]", *operands])


def _groups(parser: argparse.ArgumentParser, always: bool) -> Iterator[argparse.Action]:
    """Gives the operands and options of a parser: those that every verb has, or all others."""
    for group in parser._action_groups:
        if (group.title == _ALWAYS) == always:
            yield from (action for action in group._group_actions if not isinstance(action, argparse._HelpAction))


# Man pages


def _roff(text: str) -> str:
    """Quotes text for a man page."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "'").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in lines)


def _man_items(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        words = [rf"\fB{_roff(name)}\fR" for name in action.option_strings]
        value = _name(action) if not words or (action.nargs != 0 and (action.metavar or action.choices)) else ""
        shown = [", ".join(words), rf"\fI{_roff(value)}\fR" if value else ""]
        yield ".TP\n" + " ".join(part for part in shown if part)
        yield _roff(action.help or "")


def _man_options() -> str:
    return "\n".join(_man_items(_groups(build_parser(), always=True))) + "\n"


def _man_verbs() -> str:
    return "\n".join("\n".join(_man_verb(parser)) for parser in _verbs()) + "\n"


def _man_verb(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.SS "{_roff(_synopsis(parser))}"'
    yield f"{_roff(_sentence(parser))}."
    yield from _man_items(_groups(parser, always=False))
    for title, text in re.findall(r"^(\S.*):\n((?:  .*\n?)+)", parser.epilog or "", re.MULTILINE):
        yield f".PP\n{_roff(title)}:\n.RS 4\n.nf"
        yield _roff(inspect.cleandoc(text))
        yield ".fi\n.RE"


def _man_daemon_options() -> str:
    return "\n".join(_man_items(_groups(daemon_parser(), always=False))) + "\n"


def _man_settings() -> str:
    lines = []
    sections: set[str] = set()
    for section, about, name, default, doc in _settings():
        if section not in sections:
            sections.add(section)
            lines.append(f'.SS "{section}"\n{_roff(about)}')
        lines.append(f".TP\n\\fB{name}\\fR (default: {_roff(default)})\n{_roff(doc)}")
    return "\n".join(lines) + "\n"


def _man_exit_status() -> str:
    table = (DOC / "reference" / "exit-status.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE)
    return "".join(f".TP\n.B {status}\n{_roff(meaning)}\n" for status, meaning in rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "common-parameters": _common_parameters,
    "opcodes": _opcodes,
    "fields": _fields,
    "transitions": _transitions,
    "lifecycle-verbs": _lifecycle_verbs,
    "methods": _methods,
    "settings": _settings_table,
    "verbs": _verbs_table,
    "man-options": _man_options,
    "man-verbs": _man_verbs,
    "man-daemon-options": _man_daemon_options,
    "man-settings": _man_settings,
    "man-exit-status": _man_exit_status,
}

IMAGES: Mapping[Path, Callable[[], str]] = {DOC / "images" / "lifecycle.svg": drawing.lifecycle_image}


def main() -> int:
    """Renews the pages and images, or says which are stale.

    @return: 1 if one is stale and was not to be written
    """
    options = argparse.ArgumentParser(description="Renew the generated parts of the pages below doc/, and images.")
    options.add_argument("--check", action="store_true", help="write nothing, say what is stale")
    check = options.parse_args().check
    found = list(stale())
    for file, text in found:
        print(f"{file.relative_to(DOC.parent)}: {'stale, run `make doc`' if check else 'renewed'}")
        if not check:
            file.write_text(text)
    return int(check and bool(found))


if __name__ == "__main__":
    sys.exit(main())
