"""``hybrid completion bash|zsh|fish``: a script made from the verbs, so that completing costs no start of Python."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.command import Verb
from runtime.cli.completing import SHELLS, script, words


def _completion(args: Namespace) -> int:
    from runtime.cli.main import GROUPS, SINGLE

    print(script(args.shell, words(GROUPS, SINGLE)))
    return 0


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)
    parser.epilog = (
        "bash: put `source <(hybrid completion bash)` into ~/.bashrc. zsh: `source <(hybrid completion zsh)` into "
        "~/.zshrc, after compinit. fish: `hybrid completion fish > ~/.config/fish/completions/hybrid.fish`."
    )


VERBS = {"completion": Verb("print a completion script", _completion, _arguments)}
