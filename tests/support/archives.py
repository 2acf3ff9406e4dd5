"""Archives as SageMaker takes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping


def archive(files: Mapping[str, bytes | str], members: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """Make a tar.gz.

    :param files: content by name.
    :param members: further members, without content.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return buffer.getvalue()
