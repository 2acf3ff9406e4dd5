"""`python -m local.stack.container COMMAND …`: the entry point of every container in docker-compose.yaml.

The settings are those of the stack without containers; what the container's own environment says wins. Secrets
are made once, into the shared state volume, so that no file of the repository holds any.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from local.stack import environment
from local.stack.layout import Layout
from local.stack.secrets_file import stack_secrets

STATE_DIR = "/state"
EXECUTION_PORT = 8081


def main() -> None:
    """Replace this process by the command, in the stack's environment."""
    state_dir = Path(os.environ.get("CITY_FLEET_STATE_DIR", STATE_DIR))
    layout = Layout(state_dir=state_dir, execution_port=EXECUTION_PORT)
    command = sys.argv[1:]
    if command == ["login"]:
        password = stack_secrets(layout)["ui_password"]
        url = os.environ.get("AIRFLOW__API__BASE_URL", layout.ui_url)
        print(f"Airflow: {url}, user {environment.UI_USER}, password {password}")
        return
    if not layout.env_file.exists():
        environment.write_environment(layout)
    # Here the environment is the container's: made for this stack, so nothing of it is foreign.
    whole = environment.build_environment(layout) | dict(os.environ)
    os.execvpe(command[0], command, whole)  # noqa: S606 - the command is the compose file's


if __name__ == "__main__":
    main()
