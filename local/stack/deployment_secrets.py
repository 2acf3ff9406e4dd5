"""`python -m local.stack.deployment_secrets FOLDER`: draws the secrets of docker-compose.production.yaml, a file each.

What is there stays: it may be in use. The folder is its owner's alone; the files in it can be read by others, since
Docker mounts each as it is into containers of other users, who see that file and not the folder.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o444


def drawn() -> dict[str, str]:
    """Return file name → content, all new."""
    # They stand in URLs: nothing in them needs quoting.
    database, broker = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    url = f"airflow:{database}@postgres:5432/airflow"
    return {
        "postgres_password": database,
        "sql_alchemy_conn": f"postgresql://{url}",
        "result_backend": f"db+postgresql+psycopg2://{url}",
        "redis_password": broker,
        "redis_conf": f"requirepass {broker}\n",
        "broker_url": f"redis://:{broker}@redis:6379/0",
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt_secret": secrets.token_urlsafe(48),
        "api_secret_key": secrets.token_urlsafe(48),
        "ui_passwords": json.dumps({"admin": secrets.token_urlsafe(18)}),
        # Empty where the host has a role; else an AWS user's credentials, in the form of ~/.aws/credentials.
        "aws_credentials": "",
    }


def write(folder: Path) -> bool:
    """Write the secrets into a folder, all or none.

    :return: False where the folder is there already: nothing was changed
    """
    if folder.exists():
        return False
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    draft.mkdir(mode=FOLDER_MODE, parents=True)
    for name, text in drawn().items():
        path = draft / name
        path.write_text(text)
        path.chmod(FILE_MODE)
    draft.rename(folder)
    return True


def main() -> int:
    """Write the secrets, and say where.

    :return: exit code
    """
    if len(sys.argv) != 2:
        print("usage: python -m local.stack.deployment_secrets FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    if not write(folder):
        print(
            f"{folder} is there already; what it holds may be in use, so nothing was drawn.", file=sys.stderr
        )
        return 1
    print(
        f"{folder}: the login of Airflow's UI is in ui_passwords. Put no copy of this folder into a repository."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
