"""Reads a trace of system calls (`strace -f -yy`)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")
UNFINISHED = "<unfinished ...>"


@dataclass(frozen=True)
class Call:
    """One system call, from the line on which it began to the line on which it ended."""

    name: str
    text: str
    began: int
    ended: int


def is_complete(path: Path, process: int) -> bool:
    """Whether the end of the process itself is there: threads end before it."""
    end = re.compile(rf"^{process} +\+\+\+ (exited with|killed by) .*\n", re.MULTILINE)
    return path.exists() and end.search(path.read_text(errors="replace")) is not None


def calls(path: Path) -> list[Call]:
    """Every call that returned, in the order in which they began."""
    found: list[Call] = []
    open_calls: dict[str, tuple[int, str]] = {}
    for index, line in enumerate(path.read_text(errors="replace").splitlines()):
        match = LINE.match(line)
        if match is None:
            continue
        thread, rest = match["thread"], match["rest"]
        if match["resumed"]:
            began, start = open_calls.pop(thread, (index, ""))
            found.append(Call(match["resumed"], start + rest, began, index))
        elif rest.endswith(UNFINISHED):
            open_calls[thread] = (index, rest.removesuffix(UNFINISHED))
        else:
            found.append(Call(match["name"], rest, index, index))
    return sorted(found, key=lambda call: call.began)


def first(found: list[Call], names: tuple[str, ...], after: int, matches: Callable[[str], bool]) -> Call | None:
    """The first call of these names that began after a line and whose text matches."""
    return next((call for call in found if call.name in names and call.began > after and matches(call.text)), None)
