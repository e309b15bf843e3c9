"""``earmark completion``: a script that completes commands, flags and values in a shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.cli.command import Command, HelpPage
from earmark.settings.flags import Settings, declared_flags, flag
from earmark.settings.given_values import ConfigFile


@dataclass
class CompletionOptions(Settings):
    """``earmark completion``: the shell."""

    REQUIRED = ("shell",)
    MISSING = "no shell. Name one: earmark completion bash|zsh|fish."

    shell: Literal["bash", "zsh", "fish"] | None = flag(None, "Shell: bash, zsh or fish.")


_Values = dict[str, tuple[str, ...]]  # flag with dashes -> its only possible values, if any


def _completion(options: CompletionOptions) -> None:
    from earmark.cli.command_table import COMMANDS

    flags = {name: _values(command) for name, command in COMMANDS.items()}
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[str(options.shell)](flags))


def _values(command: Command) -> _Values:
    flags = declared_flags(*command.settings, *((ConfigFile,) if command.needs_files else ())).values()
    return {f"--{name}": one.choices for one in flags for name in (one.name, *one.aliases)} | {"--help": ()}


def _bash(commands: dict[str, _Values]) -> str:
    """Complete commands first, then flags of the command and their values, and files for everything else."""
    flags = "\n".join(f"    {name}) flags='{' '.join(values)}' ;;" for name, values in commands.items())
    values = "\n".join(
        f"    '{name} {written}') values='{' '.join(choices)}' ;;"
        for name, values in commands.items()
        for written, choices in values.items()
        if choices
    )
    return f"""\
_earmark() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" flags="" values=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(commands)} --help --version" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{flags}
  esac
  case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
    *) if [ -n "$values" ]; then COMPREPLY=($(compgen -W "$values" -- "$word"))
       else COMPREPLY=($(compgen -f -- "$word")); fi ;;
  esac
}}
complete -o filenames -F _earmark earmark"""


def _zsh(commands: dict[str, _Values]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(commands)


def _fish(commands: dict[str, _Values]) -> str:
    lines = [f"complete -c earmark -n __fish_use_subcommand -f -a '{' '.join(commands)}'"]
    for name, values in commands.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for written, choices in values.items():
            choice = f" -f -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"complete -c earmark {seen} -l {written.removeprefix('--')}{choice}")
    return "\n".join(lines)


_PAGE = HelpPage(
    summary="print a script that completes commands, flags and their values in bash, zsh or fish",
    usage="earmark completion bash|zsh|fish",
    examples="""
source <(earmark completion bash)                                   # bash; in zsh: completion zsh
earmark completion fish > ~/.config/fish/completions/earmark.fish""",
)
COMMAND = Command("completion", _completion, (CompletionOptions,), _PAGE, words=("shell",), needs_files=False)
