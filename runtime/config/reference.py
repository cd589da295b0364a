"""``docs/configuration.md``, written from the declared options: ``python -m runtime.config.reference FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from runtime.config.options import SECTIONS, OptionInfo

INTRODUCTION = """\
# Configuration

Written by `make docs` from the declared options in `runtime/config/options.py`; a test keeps the two equal.

Options live in `$HYBRID_HOME/hybrid.cfg` (INI; `HYBRID_HOME` is `~/hybrid` unless set, `HYBRID_CONFIG` names another
file) and in environment variables `HYBRID__SECTION__OPTION`. What wins, first to last:

1. `HYBRID__SECTION__OPTION`
2. `HYBRID__SECTION__OPTION_CMD`: a command whose output is the value; run without a shell, 30 s at most
3. `HYBRID__SECTION__OPTION_SECRET`: a key that `[secrets] backend` is asked for (`get_config`)
4. `option`, then `option_cmd`, then `option_secret` in the file
5. the default

`hybrid config list` shows every option with its value and where that comes from; `hybrid config get-value SECTION
OPTION` prints one. Passwords are shown as `***` unless `--show-sensitive` is given. A value that cannot be used ends
every command with one line that names section, option, source, value and what was expected. An option that nobody
knows is a warning.

Paths may use `~`, environment variables and `$HYBRID_HOME`. A comment starts its own line with `#`.

## Executors

```ini
[core]
executor = LocalExecutor, heavy:LocalExecutor

[local_executor]
parallelism = 4

[local_executor:heavy]
parallelism = 2
```

The first entry is the default. `heavy` is an *alias*: a second instance of the same class, with a section of its own
that is laid over `[local_executor]`. In the environment: `HYBRID__LOCAL_EXECUTOR__HEAVY__PARALLELISM` (alias in upper
case, `-` as `_`). What is said of an alias, in the file or in the environment, always wins over what is said of the
class. Which options a section has is up to its executor; all of them know `parallelism` (slots, 0 = unlimited), which
otherwise is `[core] parallelism`.
"""


def markdown() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_section(name, cls) for name, cls in SECTIONS.items())


def _section(name: str, cls: type) -> str:
    lines = [f"\n## [{name}]\n", f"{cls.__doc__}\n", "| Option | Type | Default | Why, units |", "|---|---|---|---|"]
    return "\n".join([*lines, *_rows(cls)]) + "\n"


def _rows(cls: type) -> Iterator[str]:
    for declared in fields(cls):
        info: OptionInfo = declared.metadata["option"]
        why = info.why.replace("|", "\\|")
        yield f"| `{declared.name}` | {_type(declared, info)} | {_default(info)} | {why} |"


def _type(declared: Field[Any], info: OptionInfo) -> str:
    if info.choices:
        return "one of " + ", ".join(f"`{choice}`" for choice in info.choices)
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "True or False", "Path": "path"}
    name = names.get(str(declared.type), "number or nothing")
    return f"{name} ≥ {info.minimum:g}" if info.minimum is not None else name


def _default(info: OptionInfo) -> str:
    return f"`{info.default}`" if info.default else "nothing"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
