"""Where raw values come from: ``hybrid.cfg`` and the environment. Knows names and lines, no types."""

from __future__ import annotations

import configparser
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.core.errors import ConfigError

PREFIX = "HYBRID__"


@dataclass(frozen=True)
class Raw:
    """A value as it was written, and where: ``HYBRID__CORE__EXECUTOR``, ``/a/home/hybrid.cfg:3``, ``default``."""

    text: str
    source: str


@dataclass(frozen=True)
class Sources:
    """The two places together. ``path`` need not exist."""

    path: Path
    file: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    lines: Mapping[tuple[str, str], int] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def find(self, section: str, key: str) -> Raw | None:
        """What wins, or ``None``: env, env ``_CMD``, env ``_SECRET``, file, file ``_cmd``, file ``_secret``."""
        name = f"{PREFIX}{section}__{key}".upper()
        in_file = self.file.get(section, {})
        for suffix in ("", "_CMD", "_SECRET"):
            if (text := self.env.get(name + suffix)) is not None:
                return self._resolve(Raw(text.strip(), name + suffix), suffix)
        for suffix in ("", "_cmd", "_secret"):
            if (text := in_file.get(key + suffix)) is not None:
                return self._resolve(Raw(text.strip(), self.place(section, key + suffix)), suffix.upper())
        return None

    def section(self, section: str) -> dict[str, Raw]:
        """All options of a free-form section, ``_cmd`` ones run: ``[section]`` overlaid with its environment."""
        found = {
            key: Raw(text.strip(), self.place(section, key)) for key, text in self.file.get(section, {}).items()
        } | self._environment(section)
        for key in [key for key in found if key.endswith("_cmd")]:
            command = found.pop(key)
            if key.removesuffix("_cmd") not in found:
                found[key.removesuffix("_cmd")] = self._resolve(command, "_CMD")
        return found

    def place(self, section: str, key: str) -> str:
        """``file:line`` of an option in the file."""
        return f"{self.path}:{self.lines.get((section, key), 0)}"

    def env_keys(self, section: str) -> dict[str, str]:
        """Option → variable, of the variables that speak of ``section`` (``name`` or ``name:alias``)."""
        name, _, alias = section.partition(":")
        prefix = f"{PREFIX}{name}__" + (f"{alias.replace('-', '_')}__" if alias else "")
        prefix = prefix.upper()
        keys = {variable.removeprefix(prefix): variable for variable in self.env if variable.startswith(prefix)}
        # A second "__" belongs to an alias; a leading "_" to an alias that ends with one.
        return {key.lower(): name for key, name in keys.items() if key and "__" not in key and not key.startswith("_")}

    def _secret(self, raw: Raw) -> str:
        """What the secrets backend says of the key. No error quotes more than the key."""
        from runtime.secrets.backends import load_backend

        options = [self.find("secrets", key) for key in ("backend", "backend_kwargs")]
        if raw.source.lower().startswith((f"{PREFIX}secrets__".lower(), "secrets")) or not (
            options[0] and options[0].text
        ):
            raise ConfigError(f"{raw.source}: no secrets backend is configured; give the value itself, or a _CMD")
        backend = load_backend(options[0].text, options[1].text if options[1] else "")
        try:
            found = backend.get_config(raw.text)
        except Exception as error:
            raise ConfigError(f"{raw.source}: the secrets backend failed ({type(error).__name__})") from None
        if found is None:
            raise ConfigError(f"{raw.source}: the secrets backend knows no {raw.text!r}")
        return str(found)

    def _environment(self, section: str) -> dict[str, Raw]:
        return {key: Raw(self.env[name].strip(), name) for key, name in self.env_keys(section).items()}

    def _resolve(self, raw: Raw, suffix: str) -> Raw:
        if suffix == "_CMD":
            return Raw(_output(raw), raw.source)
        if suffix == "_SECRET":
            return Raw(self._secret(raw), raw.source)
        return raw


def read_file(path: Path, env: Mapping[str, str]) -> Sources:
    """Parse ``path`` if it exists. Raises :class:`ConfigError` with the line where it is no INI file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Sources(path, env=env)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        raise ConfigError(_syntax(path, error)) from None
    return Sources(path, {name: dict(parser[name]) for name in parser.sections()}, _lines(text), env)


def _syntax(path: Path, error: configparser.Error) -> str:
    if isinstance(error, configparser.DuplicateOptionError):
        return f"{path}:{error.lineno}: option {error.option!r} stands twice in [{error.section}]; keep one"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"{path}:{error.lineno}: section [{error.section}] stands twice; join them"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"{path}:{error.lineno}: an option before the first [section]"
    line = error.errors[0][0] if isinstance(error, configparser.ParsingError) and error.errors else 0
    return f"{path}:{line}: expected `option = value` or [section]"


def _lines(text: str) -> dict[tuple[str, str], int]:
    """(section, option) → line. configparser keeps no lines of what it understood."""
    found: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("[") and "]" in line:
            section = line[1 : line.index("]")]
        elif line[:1] not in ("", "#", ";", " ", "\t"):
            key = line.replace(":", "=", 1).partition("=")[0] if "=" not in line else line.partition("=")[0]
            found[section, key.strip().lower()] = number
    return found


def _output(raw: Raw) -> str:
    """What the command printed. Its output is a secret: no error quotes it."""
    import subprocess

    try:
        argv = shlex.split(raw.text)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{raw.source}: command {raw.text!r} did not run: {error}") from None
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ConfigError(f"{raw.source}: command {raw.text!r} exited with {done.returncode}: {reason[0]}")
    return done.stdout.strip()
