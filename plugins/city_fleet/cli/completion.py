"""Command ``completion``: what a shell runs so that the tab key knows commands, options and cities."""

from __future__ import annotations

from typing import Annotated

import typer

from city_fleet.cli.output import say

#: The variable by which the shell asks; the same for ``./fleet`` and ``city-fleet``.
VARIABLE = "_CITY_FLEET_COMPLETE"

_BASH = f"""\
_city_fleet_completion() {{
    local answer line kind value
    answer=$(COMP_WORDS="${{COMP_WORDS[*]}}" COMP_CWORD=$COMP_CWORD {VARIABLE}=complete_bash "$1" 2>/dev/null)
    COMPREPLY=()
    while IFS= read -r line; do
        [ -n "$line" ] && COMPREPLY+=("$line")
    done <<< "$answer"
}}
complete -o default -F _city_fleet_completion fleet ./fleet bin/fleet city-fleet"""

_ZSH = f"""\
#compdef fleet ./fleet bin/fleet city-fleet
_city_fleet_completion() {{
    eval "$(env _TYPER_COMPLETE_ARGS="${{words[1,$CURRENT]}}" {VARIABLE}=complete_zsh "${{words[1]}}" 2>/dev/null)"
}}
compdef _city_fleet_completion fleet ./fleet bin/fleet city-fleet"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh", help="Your shell.", show_default=False)],
) -> None:
    """Print what makes your shell complete commands and cities.

    \\b
    For the shell that you are in, `eval "$(./fleet completion bash)"`; to keep it, write that line into ~/.bashrc, or
    for zsh into ~/.zshrc, after compinit.

    \b
    Examples:
      ./fleet completion bash
      ./fleet completion zsh > ~/.zfunc/_fleet
    """
    if shell not in _SCRIPTS:
        raise typer.BadParameter(f"got {shell!r}; allowed: {', '.join(_SCRIPTS)}.")
    for line in _SCRIPTS[shell].splitlines():
        say(line)
