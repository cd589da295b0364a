"""``[core] plugins_folder`` is importable wherever executors are loaded and DAG files are parsed."""

from __future__ import annotations

import sys

from runtime.config import Settings, load
from runtime.config.executors import load_registry
from runtime.config.plugins import use_plugins


def test_executor_from_the_plugins_folder(home, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (home / "plugins").mkdir()
    (home / "plugins" / "our_executors.py").write_text(
        "from executors import BaseExecutor\nclass Ours(BaseExecutor):\n    pass\n"
    )
    settings = load(home, env={"HYBRID__CORE__EXECUTOR": "LocalExecutor, ours:our_executors.Ours"})
    assert load_registry(settings).lookup("ours").cls.__name__ == "Ours"


def test_the_folder_is_put_on_the_path_once_and_last(settings: Settings, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    use_plugins(settings)
    use_plugins(settings)
    assert sys.path.count(str(settings.core.plugins_folder)) == 1
    assert sys.path[-1] == str(settings.core.plugins_folder)
