"""Packs a Lambda function as a zip: its handler and those modules of the library that it imports, nothing else.

``python include/lambda/bundle.py predict`` writes ``dist/predict.zip``. The bytes depend on the modules alone (no
times, no compression), so the same code is the same zip wherever it is packed. boto3 is in Lambda's Python runtime.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import sys
import zipfile
from modulefinder import ModuleFinder
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "plugins"
FUNCTIONS = ROOT / "include" / "lambda"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


def carried(folder: Path, library: Path = LIBRARY) -> dict[str, Path]:
    """Find what a function is made of.

    :param folder: holds ``handler.py``.
    :param library: the folder whose modules it may import.
    :return: name within the zip → file, sorted by name.
    """
    # Only the library is looked through: neither boto3 nor the standard library goes into the zip.
    finder = ModuleFinder(path=[str(library)])
    finder.run_script(str(folder / "handler.py"))
    files = {"handler.py": folder / "handler.py"}
    for module in finder.modules.values():
        path = Path(getattr(module, "__file__", None) or "")
        if path.is_relative_to(library):
            files[path.relative_to(library).as_posix()] = path
    return dict(sorted(files.items()))


def bundle(folder: Path) -> bytes:
    """Return a function's zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in carried(folder).items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.create_system = 3  # Unix, whatever packs it: Lambda needs the files readable
            member.external_attr = 0o100644 << 16
            archive.writestr(member, path.read_bytes())
    return buffer.getvalue()


def main(arguments: list[str]) -> int:
    """Write the zip of one function, or of all.

    :return: exit code.
    """
    names = sorted(path.parent.name for path in FUNCTIONS.glob("*/handler.py"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("function", nargs="*", help=f"all by default: {', '.join(names)}")
    parser.add_argument("--output-dir", type=Path, default=ROOT / "dist", help="default: dist")
    parsed = parser.parse_args(arguments)
    for name in parsed.function:
        if name not in names:
            parser.error(f"got {name!r}; allowed: {', '.join(names)}")
    parsed.output_dir.mkdir(parents=True, exist_ok=True)
    for name in parsed.function or names:
        content = bundle(FUNCTIONS / name)
        path = parsed.output_dir / f"{name}.zip"
        path.write_bytes(content)
        # As `aws lambda get-function --query Configuration.CodeSha256` prints it.
        sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"{shown}  {len(content)} bytes  CodeSha256 {sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
