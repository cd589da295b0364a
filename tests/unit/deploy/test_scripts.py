"""The shell scripts of the tree: shellcheck has nothing to say, and the one that makes secrets keeps them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = sorted([*(ROOT / "deploy").rglob("*.sh"), ROOT / ".ci/run"])
SECRET = ROOT / "deploy/kind/secret.sh"
KUBECTL = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$RECORD/arguments"
case "$*" in
    *"get secret"*) printf '%s' "$FOUND" ;;
    *"create -f -"*) cat >>"$RECORD/created" ;;
    *current-context*) echo somewhere ;;
    *) exit 9 ;;
esac
"""
PROGRAM = """\
#!/bin/sh
printf '%s %s\\n' "${0##*/}" "$*" >>"$RECORD/asked"
case "$*" in
    "get clusters") printf '%s\\n' "$CLUSTERS" ;;
    *"get deployment"*) printf '%s' "$DEPLOYMENTS" ;;
    *"create -f -"*) cat >/dev/null ;;
esac
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=[str(path.relative_to(ROOT)) for path in SCRIPTS])
def test_shellcheck_is_content(script: Path) -> None:
    program = Path(sysconfig.get_path("scripts")) / "shellcheck"
    done = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.access(script, os.X_OK) or script.name == "run"


class Recorded:
    """A ``kubectl`` that writes down what it is asked; ``found`` is the secret that is there."""

    def __init__(self, folder: Path, found: str = "") -> None:
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(KUBECTL)
        program.chmod(0o755)
        self.environment = {"PATH": f"{folder}:{os.environ['PATH']}", "RECORD": str(folder), "FOUND": found}

    def run(self, *words: str) -> str:
        done = subprocess.run([SECRET, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @property
    def created(self) -> list[dict[str, dict[str, str]]]:
        path = self.folder / "created"
        return list(yaml.safe_load_all(path.read_text())) if path.exists() else []

    @property
    def arguments(self) -> str:
        return (self.folder / "arguments").read_text()


class TestSecret:
    def test_it_is_random_and_in_no_argument_list(self, tmp_path: Path) -> None:
        recorded = Recorded(tmp_path)
        printed = recorded.run("kind-hybrid")
        (secret,) = recorded.created
        values = secret["stringData"]
        assert re.fullmatch(r"[0-9a-f]{48}", values["postgres-password"])
        assert re.fullmatch(r"[0-9a-f]{128}", values["jwt-secret"])
        assert len(base64.urlsafe_b64decode(values["fernet-key"])) == 32
        assert values["database-url"] == f"postgresql://hybrid:{values['postgres-password']}@postgres/hybrid"
        for value in values.values():
            assert value not in recorded.arguments + printed

    def test_no_two_are_alike(self, tmp_path: Path) -> None:
        made = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            recorded = Recorded(tmp_path / name)
            recorded.run("kind-hybrid")
            made.append(recorded.created[0]["stringData"])
        assert not set(made[0].values()) & set(made[1].values())

    def test_one_that_is_there_is_kept(self, tmp_path: Path) -> None:
        recorded = Recorded(tmp_path, found="secret/hybrid")
        assert "kept" in recorded.run("kind-hybrid")
        assert recorded.created == []

    def test_the_context_is_the_one_that_was_named_or_the_current_one(self, tmp_path: Path) -> None:
        recorded = Recorded(tmp_path)
        recorded.run("kind-mine")
        assert recorded.arguments.count("--context kind-mine") == 2
        recorded.run()
        assert recorded.arguments.count("--context somewhere") == 2


class TestUp:
    """What ``up.sh`` asks of docker, kind and kubectl, none of which is real here."""

    @staticmethod
    def run(folder: Path, *, programs: str = "docker kind kubectl", **environment: str) -> tuple[int, list[str], str]:
        """Exit code, commands, stderr."""
        for name in programs.split():
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)
        for name in ("dirname", "grep", "head", "base64", "od", "tr", "cat", "sh"):
            (folder / name).symlink_to(shutil.which(name) or name)
        environment = {"CLUSTERS": "", "DEPLOYMENTS": "", **environment, "PATH": str(folder), "RECORD": str(folder)}
        done = subprocess.run(
            ["/bin/sh", ROOT / "deploy/kind/up.sh"], env=environment, capture_output=True, text=True, check=False
        )
        asked = folder / "asked"
        return done.returncode, asked.read_text().splitlines() if asked.exists() else [], done.stderr

    def test_everything_is_there_before_it_is_needed(self, tmp_path: Path) -> None:
        """Image, cluster, image in the cluster, namespaces, secret, the rest; then it waits for each daemon."""
        code, asked, errors = self.run(tmp_path)
        assert (code, errors) == (0, "")
        marks = [
            "docker build -f deploy/docker/Dockerfile --build-arg EXTRAS=kubernetes,postgres ",
            "docker build -f deploy/kind/dags.Dockerfile --build-arg IMAGE=hybrid-runtime:kubernetes ",
            "kind create cluster --name hybrid --config deploy/kind/cluster.yaml",
            "kind load docker-image --name hybrid hybrid-dags:local",
            "kubectl --context kind-hybrid apply -f deploy/kind/manifests/namespaces.yaml",
            "kubectl --context kind-hybrid -n hybrid create -f -",
            "kubectl --context kind-hybrid apply -k deploy/kind/manifests",
            "kubectl --context kind-hybrid -n hybrid rollout status --timeout 5m deployment/scheduler",
        ]
        places = [[place for place, line in enumerate(asked) if line.startswith(mark)] for mark in marks]
        assert [len(found) for found in places] == [1] * len(marks), asked
        assert places == sorted(places)
        assert not [line for line in asked if "restart" in line]

    def test_a_cluster_that_is_there_is_used(self, tmp_path: Path) -> None:
        code, asked, _ = self.run(tmp_path, CLUSTERS="other\nhybrid", DEPLOYMENTS="deployment.apps/scheduler")
        assert code == 0
        assert not [line for line in asked if "create cluster" in line]
        assert "kubectl --context kind-hybrid -n hybrid rollout restart deployment" in asked, "for the new image"

    def test_name_folder_and_base_are_chosen_by_the_environment(self, tmp_path: Path) -> None:
        _, asked, _ = self.run(
            tmp_path, CLUSTER="mine", DAGS="/some where", BASE_IMAGE="debian:mine", NODE_IMAGE="node:1"
        )
        assert asked[0].endswith("--build-arg BASE_IMAGE=debian:mine -t hybrid-runtime:kubernetes .")
        assert asked[1].endswith("/some where")
        assert "kind create cluster --name mine --config deploy/kind/cluster.yaml --image node:1" in asked
        assert not [line for line in asked if line.startswith("kubectl") and "--context kind-mine" not in line]

    def test_a_missing_tool_is_one_line(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, programs="docker kubectl") == (1, [], "up.sh: kind is needed\n")
