"""The secrets of a stack: drawn once for each state directory, in a file that only its owner may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

from local.stack.layout import Layout

SECRETS_FILE = "secrets.json"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, in one step: on a full disk the old one stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(descriptor)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def stack_secrets(layout: Layout) -> dict[str, str]:
    """Return the secrets of this state directory; each is made the first time that it is asked for.

    :return: jwt_secret, fernet_key, secret_key, ui_password, database_password and broker_password
    """
    path = layout.state_dir / SECRETS_FILE
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    drawn = {
        "jwt_secret": secrets.token_urlsafe(48),
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_urlsafe(32),
        "ui_password": secrets.token_urlsafe(12),
        # They stand in URLs: nothing in them needs quoting.
        "database_password": secrets.token_urlsafe(24),
        "broker_password": secrets.token_urlsafe(24),
    }
    if drawn.keys() <= known.keys():
        return known
    write_private(path, json.dumps(drawn | known))
    return drawn | known
