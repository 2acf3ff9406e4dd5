"""The table of docs/internals/local-sagemaker.md: what every operation does of what AWS documents. Made from the code.

``python -m local.sagemaker.reference`` writes it between the marks in the file, ``--check`` tells whether it is
up to date. Members are those of botocore's service model; what differs is what the operations declare.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from local import ROOT
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.operations import FIDELITY, Fidelity

DOCUMENT = ROOT / "docs" / "internals" / "local-sagemaker.md"
BEGIN = "<!-- operations: made by `make docs-local`; edits are lost -->"
END = "<!-- operations: end -->"


class MarksMissing(Exception):
    """The document lacks the two lines between which the table stands."""


def table() -> str:
    """The table, in Markdown."""
    # Imported here: it fills the register, and takes moto's second.
    from local.sagemaker.app import load_operations  # noqa: PLC0415

    load_operations()
    rows = [_row(name, FIDELITY[name]) for name in sorted(FIDELITY)]
    return "\n".join(
        [
            f"{len(rows)} of SageMaker's {len(wire.service_model().operation_names)} operations are answered;"
            " any other one answers 501 and its name.",
            "",
            "| operation | members of the request | what differs from AWS | source |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _row(name: str, fidelity: Fidelity) -> str:
    shape = wire.operation_model(name).input_shape
    # A member that is refused as a whole does not count as supported; one inside a member is named in full.
    whole = {*fidelity.refused, *fidelity.no_effect}
    supported = [member for member in (shape.members if shape else ()) if member not in whole]
    members = [_names(supported)]
    if fidelity.no_effect:
        members.append(f"kept and described, without effect: {_names(fidelity.no_effect)}")
    if fidelity.refused:
        members.append(f"refused by name: {_names(fidelity.refused)}")
    cells = (name, ". ".join(members), " ".join(fidelity.differs) or "–", fidelity.source)
    return f"| {' | '.join(_cell(text) for text in cells)} |"


def _names(members: Sequence[str]) -> str:
    return ", ".join(f"`{member}`" for member in members) or "none"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def inserted(document: str) -> str:
    """A document with an up-to-date table between the marks.

    :raises MarksMissing: if the document does not have them.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise MarksMissing(f"it needs the two lines\n{BEGIN}\n{END}")
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the table.

    :returns: the exit status: 1 if ``--check`` finds the table out of date.
    """
    parser = argparse.ArgumentParser(
        prog="python -m local.sagemaker.reference",
        description="Write the table of operations into the documentation.",
    )
    parser.add_argument("file", nargs="?", type=Path, default=DOCUMENT, help="default: %(default)s")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with status 1 if the table is out of date"
    )
    parsed = parser.parse_args(arguments)
    try:
        current = parsed.file.read_text(encoding="utf-8")
        wanted = inserted(current)
    except (OSError, MarksMissing) as error:
        print(f"{parsed.file}: {error}", file=sys.stderr)
        return 1
    if parsed.check:
        if current != wanted:
            print(f"{parsed.file} is out of date: run `make docs-local`", file=sys.stderr)
        return int(current != wanted)
    if current != wanted:
        parsed.file.write_text(wanted, encoding="utf-8")
        print(f"wrote {parsed.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
