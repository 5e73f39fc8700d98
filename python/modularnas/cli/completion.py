"""`modularnas completion`: what a shell needs to complete commands, options and names."""

from __future__ import annotations

import argparse
from typing import Any

from modularnas.cli.arguments import add_command

_BASH = """_modularnas() {{
    local command="${{COMP_WORDS[1]}}" word="${{COMP_WORDS[COMP_CWORD]}}" words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "$command" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _modularnas modularnas"""


def add(commands: Any) -> None:
    """Says the arguments."""
    command = add_command(
        commands,
        "completion",
        run,
        "print the completion script of a shell",
        ["completion bash > ~/.local/share/bash-completion/completions/modularnas", "completion zsh >> ~/.zshrc"],
    )
    command.add_argument("shell", choices=["bash", "zsh", "fish"])


def run(options: argparse.Namespace) -> None:
    """Does it."""
    words = _words()
    if options.shell == "fish":
        print(f"complete -c modularnas -n __fish_use_subcommand -f -a '{' '.join(words)}'")
        for name, known in words.items():
            print(f"complete -c modularnas -n '__fish_seen_subcommand_from {name}' -a '{' '.join(known)}'")
        return
    cases = "\n".join(f'            {name}) words="{" ".join(known)}" ;;' for name, known in words.items())
    script = _BASH.format(commands=" ".join(words), cases=cases)
    print(script if options.shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}")


def _words() -> dict[str, list[str]]:
    """Command to its options and the values that are known."""
    from modularnas.cli import parser
    from modularnas.pipeline.described import published

    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    found = {}
    for name, command in commands.choices.items():
        words = [option for action in command._actions for option in action.option_strings if option.startswith("--")]
        words += [str(choice) for action in command._actions for choice in action.choices or ()]
        found[name] = words + (list(published()) if name == "run" else [])
    return found
