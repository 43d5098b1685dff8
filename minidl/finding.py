"""One line of what `minidl doctor` reports."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report: state 'ok', 'note', 'warn' or 'BAD', and the remedy where there is one."""

    state: str
    text: str
    remedy: str = ""
