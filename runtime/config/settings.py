"""The settings of a process: typed sections, and the free-form options of executors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from runtime.config.options import (
    SECTIONS,
    Api,
    ApiAuth,
    Core,
    DagProcessor,
    Database,
    ExecutionApi,
    Logging,
    Metrics,
    Operators,
    OptionInfo,
    Scheduler,
    Secrets,
    Workers,
)
from runtime.config.sources import Raw, Sources, read_file
from runtime.config.values import PARSERS, masked
from runtime.core.errors import ConfigError
from runtime.core.task_api import PREFIX

Section = TypeVar("Section")


@dataclass(frozen=True)
class Item:
    """One line of ``hybrid config list``."""

    section: str
    key: str
    value: str
    source: str


@dataclass(frozen=True)
class Settings:
    """Everything that was configured, read once. Frozen; passes through ``fork`` and ``pickle``."""

    home: Path
    core: Core
    database: Database
    logging: Logging
    api: Api
    api_auth: ApiAuth
    execution_api: ExecutionApi
    workers: Workers
    metrics: Metrics
    scheduler: Scheduler
    dag_processor: DagProcessor
    operators: Operators
    secrets: Secrets
    sources: Sources = field(repr=False)
    warnings: tuple[str, ...] = ()
    """Unknown options, one line each; not fatal, for an ``airflow.cfg`` has many that mean nothing here."""

    @property
    def config_file(self) -> Path:
        return self.sources.path

    @property
    def task_api_url(self) -> str:
        """Where workers find the task API; ends in ``/execution/v1``."""
        host = "127.0.0.1" if self.api.host in ("0.0.0.0", "::", "") else self.api.host  # noqa: S104  compared only
        host = f"[{host}]" if ":" in host else host
        return self.core.execution_api_server_url or f"http://{host}:{self.api.port}{PREFIX}"

    def executor_options(self, section: str, alias: str | None = None) -> dict[str, str]:
        """Options of one executor: ``[section]`` overlaid with ``[section:alias]``, each with its environment.

        The alias wins over the section wherever either stands: a variable for all brokers must not pull two aliases
        onto one broker. Raises :class:`ConfigError` where a ``_cmd`` fails.
        """
        found = self.sources.section(section)
        if alias:
            found |= self.sources.section(f"{section}:{alias}")
        return {key: raw.text for key, raw in found.items()}

    def items(self, *, show_sensitive: bool = False) -> Iterator[Item]:
        """Every option with its value and source, declared sections first, then the free-form ones as written."""
        for name in SECTIONS:
            for declared in fields(SECTIONS[name]):
                raw = _raw(self.sources, name, declared)
                info: OptionInfo = declared.metadata["option"]
                text = _text(getattr(getattr(self, name), declared.name))
                shown = text if show_sensitive else masked(declared.name, text, sensitive=info.sensitive)
                yield Item(name, declared.name, shown, raw.source)
        for name in free_sections(self.sources):
            for key, raw in sorted(self.sources.section(name).items()):
                yield Item(name, key, raw.text if show_sensitive else masked(key, raw.text), raw.source)


def load(home: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read ``hybrid.cfg`` and the environment.

    :param home: default ``$HYBRID_HOME``, else ``~/hybrid``; need not exist.
    :param env: default ``os.environ``.
    Raises :class:`ConfigError`: one line with section, option, source, value and what was expected.
    """
    env = os.environ if env is None else env
    home, path = home_and_file(home, env)
    own = {name: value for name, value in env.items() if name.startswith("HYBRID__")}
    sources = read_file(path, own)
    settings = Settings(
        home=home,
        core=_section(Core, "core", sources, home),
        database=_section(Database, "database", sources, home),
        logging=_section(Logging, "logging", sources, home),
        api=_section(Api, "api", sources, home),
        api_auth=_section(ApiAuth, "api_auth", sources, home),
        execution_api=_section(ExecutionApi, "execution_api", sources, home),
        workers=_section(Workers, "workers", sources, home),
        metrics=_section(Metrics, "metrics", sources, home),
        scheduler=_section(Scheduler, "scheduler", sources, home),
        dag_processor=_section(DagProcessor, "dag_processor", sources, home),
        operators=_section(Operators, "operators", sources, home),
        secrets=_section(Secrets, "secrets", sources, home),
        sources=sources,
        warnings=tuple(_unknown(sources)),
    )
    _check_together(settings)
    return settings


def home_and_file(home: Path | None, env: Mapping[str, str]) -> tuple[Path, Path]:
    """The home folder and the configuration file; neither need exist."""
    home = Path(os.path.abspath(os.path.expanduser(home or env.get("HYBRID_HOME") or "~/hybrid")))
    return home, Path(os.path.abspath(os.path.expanduser(env.get("HYBRID_CONFIG") or home / "hybrid.cfg")))


def _section(cls: type[Section], name: str, sources: Sources, home: Path) -> Section:
    return cls(**{declared.name: check_option(sources, name, declared, home) for declared in fields(cls)})  # type: ignore[arg-type]


def _raw(sources: Sources, section: str, declared: Field[Any]) -> Raw:
    info: OptionInfo = declared.metadata["option"]
    return sources.find(section, declared.name) or Raw(info.default, "default")


def check_option(sources: Sources, section: str, declared: Field[Any], home: Path) -> Any:
    """Its value. Raises :class:`ConfigError` with section, option, source, value and what was expected."""
    info: OptionInfo = declared.metadata["option"]
    raw = _raw(sources, section, declared)
    text = raw.text.replace("$HYBRID_HOME", str(home)).replace("${HYBRID_HOME}", str(home))
    try:
        value = (info.parse or PARSERS[str(declared.type)])(text)
        if info.minimum is not None and value < info.minimum:
            raise ValueError(f"at least {info.minimum:g}")
        if info.choices and value not in info.choices:
            raise ValueError("one of " + ", ".join(info.choices))
    except ValueError as expected:
        shown = masked(declared.name, raw.text, sensitive=info.sensitive)
        raise ConfigError(f"[{section}] {declared.name} = {shown!r} ({raw.source}): expected {expected}") from None
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def free_sections(sources: Sources) -> list[str]:
    """Sections of executors, in the file or in the environment, where an alias reads ``section:alias``."""
    names = set(sources.file)
    folded = {name.replace("-", "_").lower() for name in names}
    for variable in sources.env:
        *section, _key = variable.lower().split("__")[1:]
        name = ":".join(section)
        if len(section) in (1, 2) and name not in folded:
            names.add(name)
    return sorted(names - set(SECTIONS))


def _check_together(settings: Settings) -> None:
    beat, timeout = settings.scheduler.task_heartbeat_sec, settings.scheduler.task_instance_heartbeat_timeout
    if beat >= timeout - 5:
        raise ConfigError(
            f"[scheduler] task_heartbeat_sec = {beat:g} must be less than task_instance_heartbeat_timeout - 5 = "
            f"{timeout - 5:g}: a supervisor kills its task when no heartbeat came through by then"
        )


def _unknown(sources: Sources) -> Iterator[str]:
    """A line for each option that nothing reads, with the name it may have meant."""
    for section, cls in SECTIONS.items():
        known = [declared.name for declared in fields(cls)]
        written = {key: sources.place(section, key) for key in sources.file.get(section, {})}
        for key, source in (written | sources.env_keys(section)).items():
            if key not in known and key.removesuffix("_cmd").removesuffix("_secret") not in known:
                yield f"{source}: no option {key!r} in [{section}]{did_you_mean(key, known)}"
    for section in free_sections(sources):
        if hint := did_you_mean(section, list(SECTIONS)):
            yield f"{sources.path if section in sources.file else 'environment'}: no section [{section}]{hint}"


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean x?`` where something near is known, else nothing."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else ""
