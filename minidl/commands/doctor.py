"""`minidl doctor`: what this machine has, what is wrong, and what to do about it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from minidl.commands import options
from minidl.doctor import examine, report


def add_arguments(parser: ArgumentParser) -> None:
    """Nothing but --json."""
    options.as_json(parser)


def run(args: Namespace) -> int:
    """Examine; 1 if something that minidl needs is broken."""
    findings = examine()
    options.show(args, {name: finding._asdict() for name, finding in findings.items()}, lambda: report(findings))
    return 1 if any(finding.state == "BAD" for finding in findings.values()) else 0
