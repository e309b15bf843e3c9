"""``earmark completion``: a script that completes commands and flags in a shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.cli.command import Command
from earmark.errors import UsageError
from earmark.settings.flags import Settings, flag


@dataclass
class CompletionOptions(Settings):
    """``earmark completion``: the shell."""

    shell: Literal["bash", "zsh", "fish"] | None = flag(None, "Shell: bash, zsh or fish.")

    def validate(self) -> None:
        """Check that a shell is named."""
        super().validate()
        if self.shell is None:
            raise UsageError("name a shell: earmark completion bash|zsh|fish")


def _completion(options: CompletionOptions) -> None:
    from earmark.cli.pages import completion_words
    from earmark.cli.table import COMMANDS

    words = completion_words(COMMANDS.values())
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[str(options.shell)](words))


def _bash(words: dict[str, list[str]]) -> str:
    """Commands first, then flags of the command, and files for everything else."""
    cases = "\n".join(f"    {name}) flags='{' '.join(flags)}' ;;" for name, flags in words.items())
    return f"""\
_earmark() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" flags=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(words)} --help --version" -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{cases}
  esac
  case "$word" in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$word")) ;;
    *) COMPREPLY=($(compgen -f -- "$word")) ;;
  esac
}}
complete -o filenames -F _earmark earmark"""


def _zsh(words: dict[str, list[str]]) -> str:
    return "autoload -U +X bashcompinit && bashcompinit\n" + _bash(words)


def _fish(words: dict[str, list[str]]) -> str:
    lines = [f"complete -c earmark -n __fish_use_subcommand -f -a '{' '.join(words)}'"]
    for name, flags in words.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        lines += [f"complete -c earmark {seen} -l {one.removeprefix('--')}" for one in flags]
    return "\n".join(lines)


COMMAND = Command(
    name="completion",
    summary="print a script that completes commands and flags in bash, zsh or fish",
    usage="earmark completion bash|zsh|fish",
    does=_completion,
    settings=(CompletionOptions,),
    words=("shell",),
    needs_files=False,
    examples="""
source <(earmark completion bash)                                   # bash; in zsh: completion zsh
earmark completion fish > ~/.config/fish/completions/earmark.fish""",
)
