"""``hybrid kubernetes generate-dag-yaml`` on a DAG that was parsed for real."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from runtime.cli.main import main
from runtime.config import load
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import open_database
from runtime.processing.once import make_processor

CONFIG = """
[core]
executor = LocalExecutor, east:KubernetesExecutor, west:KubernetesExecutor
execution_api_server_url = http://api:8080/execution/v1
[kubernetes_executor]
worker_container_repository = hybrid
worker_container_tag = 1
namespace = tasks
[kubernetes_executor:west]
namespace = wild
"""
DAG = """
from kubernetes.client import V1Container, V1Pod, V1PodSpec, V1ResourceRequirements
from runtime import DAG, EmptyOperator, task

with DAG("sales", default_args={"executor": "east"}):
    @task
    def load(): ...

    big = {"pod_override": V1Pod(spec=V1PodSpec(containers=[
        V1Container(name="base", resources=V1ResourceRequirements(limits={"memory": "8Gi"}))]))}

    @task(executor_config=big)
    def crunch(): ...

    @task(executor="west", executor_config={"pod_override": {"spec": {"containers": [{"imag": "x"}]}}})
    def wrong(): ...

    @task(executor="LocalExecutor")
    def here(): ...

    load(), crunch(), wrong(), here(), EmptyOperator(task_id="nothing")
"""


@pytest.fixture
def parsed(settings, home):
    (home / "hybrid.cfg").write_text(CONFIG)
    settings = load()
    settings.core.dags_folder.mkdir(parents=True, exist_ok=True)
    (settings.core.dags_folder / "sales.py").write_text(DAG)
    database = open_database(settings)
    answers = make_processor(settings, DatabaseDagStore(database)).parse_once()
    database.close()
    assert [answer.error for answer in answers] == [None]


def generate(*words: str) -> int:
    return main(["kubernetes", "generate-dag-yaml", *words])


def test_a_file_for_each_task_of_the_executor(parsed, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert generate("sales", "-l", "2026-01-31T06:00+00:00", "-o", str(folder)) == 0
    names = sorted(path.name for path in folder.iterdir())
    date = "2026-01-31T06:00:00.000000+00:00"
    assert names == [f"sales_crunch_{date}.yml", f"sales_load_{date}.yml"]
    assert sorted(capsys.readouterr().out.split()) == [str(folder / name) for name in names]
    crunch, load_ = (yaml.safe_load((folder / name).read_text()) for name in names)
    for pod in (crunch, load_):
        kubernetes_validate.validate(pod, "1.35", strict=True)
        assert pod["metadata"]["namespace"] == "tasks"
        assert pod["metadata"]["labels"]["hybrid_executor"] == "east"
        assert pod["metadata"]["annotations"]["hybrid.dev/run-id"] == f"manual__{date}"
    assert crunch["spec"]["containers"][0]["resources"] == {"limits": {"memory": "8Gi"}}
    assert "resources" not in load_["spec"]["containers"][0]


def test_there_is_a_placeholder_for_the_ticket(parsed, tmp_path):
    generate("sales", "-o", str(tmp_path / "out"))
    pod = yaml.safe_load(next((tmp_path / "out").glob("sales_load_*")).read_text())
    values = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}
    assert values["HYBRID_START_TICKET"] == "(a secret of each attempt's own)"
    assert values["HYBRID__CORE__EXECUTION_API_SERVER_URL"] == "http://api:8080/execution/v1"


def test_a_task_whose_pod_cannot_be_built_is_named_and_nothing_is_written(parsed, tmp_path, capsys):
    assert generate("sales", "--executor", "west", "-o", str(tmp_path / "out")) == 1
    assert capsys.readouterr().err == (
        "hybrid: task wrong: pod_override: spec.containers[0].imag: V1Container has no such field; "
        "did you mean image?\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none"], 1, "none"),
        (["sales", "--executor", "south"], 1, "--executor south: choose from east, west"),
        (["sales", "-l", "tomorrow"], 2, "DATE 'tomorrow' is no ISO-8601 date and time"),
        (["sales", "-o", "/dev/null/x"], 1, "-o /dev/null/x: Not a directory"),
    ],
)
def test_errors_are_one_line(parsed, capsys, words, code, message):
    assert generate(*words) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_dag_without_such_a_task(parsed, home, capsys):
    config = (home / "hybrid.cfg").read_text()
    (home / "hybrid.cfg").write_text(config.replace("west:Kub", "north:KubernetesExecutor, west:Kub"))
    assert generate("sales", "--executor", "north") == 1
    assert capsys.readouterr().err == "hybrid: DAG sales has no task that runs on executor north\n"
