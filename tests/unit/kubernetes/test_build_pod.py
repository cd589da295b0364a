"""What no override and no hook changes, which namespaces there are, and where the ticket is."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kubernetes import client as k8s

from executors.errors import ExecutorConfigError
from executors.kubernetes.building.build import build_pod
from executors.kubernetes.building.mutating import load_hook
from executors.kubernetes.building.naming import key_of, pod_name
from executors.kubernetes.errors import PodConfigError
from executors.workload import TaskInstanceKey
from tests.unit.kubernetes.pods import ATTEMPT, KEY, OPTIONS, TICKET, environment, override, workload

COMMAND = ["hybrid", "tasks", "run", ATTEMPT]
MANY = replace(OPTIONS, namespaces=("tasks", "heavy"))
EVERY = replace(OPTIONS, namespaces=("",))


_names = st.sampled_from(
    ["metadata", "spec", "containers", "name", "base", "env", "labels", "init_containers", "volumes", "image", "value"]
) | st.text(max_size=3)


def build(config: dict[str, Any] | None = None, options=OPTIONS, hook=None) -> dict[str, Any]:
    return build_pod(workload(config), options, hook=hook)


def base_of(pod: dict[str, Any]) -> dict[str, Any]:
    return pod["spec"]["containers"][0]


class TestPlain:
    def test_manifest(self):
        pod = build()
        assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
        assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == (pod_name(KEY), "tasks")
        base = base_of(pod)
        assert (base["image"], base["command"], "args" in base) == ("registry.example/hybrid:1", COMMAND, False)
        assert environment(base) == {
            "HYBRID_ATTEMPT_ID": ATTEMPT,
            "HYBRID_START_TICKET": TICKET,
            "HYBRID_IS_EXECUTOR_CONTAINER": "True",
            "HYBRID__CORE__EXECUTION_API_SERVER_URL": "http://api:8080/execution/v1",
        }

    @pytest.mark.parametrize("version", ["1.25", "1.28", "1.30", "1.33", "1.35", "1.37"])
    def test_schema_of_kubernetes(self, version):
        kubernetes_validate.validate(build(), version, strict=True)

    @given(st.text(max_size=250), st.text(max_size=250), st.text(max_size=250), st.integers(-1, 5))
    def test_any_ids_make_a_valid_pod_whose_key_comes_back(self, dag, task, run, index):
        key = TaskInstanceKey(dag, task, run, 1, index, ATTEMPT)
        pod = build_pod(workload(key=key), OPTIONS)
        assert key_of(pod) == key
        assert build_pod(workload(key=key), OPTIONS) == pod

    @pytest.mark.timed
    def test_at_least_2000_pods_a_second(self):
        plain = [workload() for _ in range(2000)]
        build_pod(plain[0], OPTIONS)
        began = time.perf_counter()
        for each in plain:
            build_pod(each, OPTIONS)
        assert time.perf_counter() - began < 1.0


class TestTicket:
    def test_it_is_in_one_place_only(self):
        pod = build({"pod_override": {"metadata": {"labels": {"a": "b"}}}})
        base = base_of(pod)
        base["env"] = [entry for entry in base["env"] if entry["name"] != "HYBRID_START_TICKET"]
        assert TICKET not in str(pod)

    def test_override_cannot_replace_it(self):
        stolen = {"name": "HYBRID_START_TICKET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
        pod = build(override(containers=[{"name": "base", "env": [stolen, {"name": "MINE", "value": "1"}]}]))
        assert environment(base_of(pod))["HYBRID_START_TICKET"] == TICKET
        assert environment(base_of(pod))["MINE"] == "1"
        assert [entry["name"] for entry in base_of(pod)["env"]].count("HYBRID_START_TICKET") == 1

    def test_the_hook_does_not_see_it(self):
        seen: list[str] = []
        build(hook=lambda pod: seen.append(str(pod)))
        assert TICKET not in seen[0]
        assert ATTEMPT in seen[0]

    def test_no_error_has_it(self):
        def hook(pod):
            raise RuntimeError(f"what a pod: {pod}")

        with pytest.raises(PodConfigError) as caught:
            build(hook=hook)
        assert TICKET not in str(caught.value)
        assert len(str(caught.value)) < 400


class TestOverride:
    def test_what_the_executor_lives_on_stays(self):
        config = {
            "pod_override": {
                "metadata": {
                    "name": "mine",
                    "generateName": "mine-",
                    "labels": {"hybrid_executor": "x", "kubernetes_executor": "no", "kubernetes_executor_done": "True"},
                    "annotations": {"hybrid.dev/attempt-id": "x"},
                },
                "spec": {
                    "restartPolicy": "Always",
                    "containers": [{"name": "base", "command": ["sh"], "args": ["-c", "true"]}],
                },
                "status": {"phase": "Succeeded"},
            }
        }
        assert build(config) == build()

    def test_the_config_of_the_workload_is_not_changed(self):
        config = override(containers=[{"name": "base", "env": [{"name": "A", "value": "1"}]}], volumes=[])
        before = copy.deepcopy(config)
        build(config)
        assert config == before

    def test_task_api_url_may_be_another(self):
        name = "HYBRID__CORE__EXECUTION_API_SERVER_URL"
        pod = build(override(containers=[{"env": [{"name": name, "value": "http://inside/execution/v1"}]}]))
        assert environment(base_of(pod))[name] == "http://inside/execution/v1"

    @pytest.mark.parametrize("empty", [{}, {"pod_override": None}, {"pod_override": {}}, {"pod_template_file": None}])
    def test_nothing_is_nothing(self, empty):
        assert build(empty) == build()

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"cpu": 1, "KubernetesExecutor": {}}, "executor_config: KubernetesExecutor knows pod_override and "
             "pod_template_file, not 'cpu', 'KubernetesExecutor'"),
            ({"pod_override": "pod"}, "pod_override: expected a mapping, not text"),
            ({"pod_override": {"kind": "Job"}}, "pod_override: kind: expected Pod"),
            ({"pod_override": {"metadata": {"finalizers": ["a/b"]}}}, "pod_override: metadata.finalizers: the executor "
             "could not delete such a pod"),
            ({"pod_template_file": 5}, "executor_config: pod_template_file: expected the path of a file"),
            (override(containers=[{"name": "base", "image": ""}]), "container 'base' has no image: set "
             "worker_container_repository, or image in pod_template_file"),
        ],
    )  # fmt: skip
    def test_a_bad_one_is_refused_with_one_line(self, config, message):
        with pytest.raises(PodConfigError) as caught:
            build(config)
        assert str(caught.value) == message

    def test_without_any_image(self):
        with pytest.raises(PodConfigError, match="container 'base' has no image"):
            build(options=replace(OPTIONS, image=""))
        pod = build(override(containers=[{"image": "mine"}]), replace(OPTIONS, image=""))
        assert base_of(pod)["image"] == "mine"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=8,
)


class TestAnything:
    """A DAG's author may write what they like: it is a pod that keeps the executor working, or one line."""

    @given(st.dictionaries(st.sampled_from(["pod_override", "pod_template_file"]), _json))
    @example({"pod_override": {"spec": {"containers": [None]}}})
    @example({"pod_override": {"spec": {"containers": [{"name": "base", "env": [{}, {"name": None}]}]}}})
    @example({"pod_override": {"metadata": {"labels": {}}, "spec": {"init_containers": [{}], "volumes": [{}]}}})
    def test_is_a_pod_or_a_line(self, config):
        try:
            pod = build(config)
        except PodConfigError as error:
            told = str(error)
            assert told.isprintable()
            assert len(told) < 600
            assert TICKET not in told
            return
        assert key_of(pod) == KEY
        assert pod["metadata"]["name"] == pod_name(KEY)
        assert pod["spec"]["restartPolicy"] == "Never"
        assert (base_of(pod)["name"], base_of(pod)["command"]) == ("base", COMMAND)
        assert environment(base_of(pod))["HYBRID_START_TICKET"] == TICKET


class TestNamespace:
    @pytest.mark.parametrize(
        ("options", "namespace"), [(OPTIONS, "tasks"), (MANY, "tasks"), (MANY, "heavy"), (EVERY, "any")]
    )
    def test_watched_ones(self, options, namespace):
        pod = build({"pod_override": {"metadata": {"namespace": namespace}}}, options)
        assert pod["metadata"]["namespace"] == namespace

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (OPTIONS, "only tasks; multi_namespace_mode allows others"),
            (MANY, "only those of multi_namespace_mode_namespace_list: tasks, heavy"),
        ],
    )
    def test_others_are_refused(self, options, reason):
        """Nobody would see such a pod end."""
        with pytest.raises(PodConfigError) as caught:
            build({"pod_override": {"metadata": {"namespace": "kube-system"}}}, options)
        assert str(caught.value) == f"pod_override: metadata.namespace: 'kube-system' is not allowed, {reason}"

    def test_the_hook_is_held_to_it_too(self):
        def move(pod):
            pod.metadata.namespace = "heavy"

        assert build(options=MANY, hook=move)["metadata"]["namespace"] == "heavy"
        with pytest.raises(PodConfigError, match="^pod_mutation_hook: metadata.namespace: 'heavy' is not allowed"):
            build(hook=move)


class TestTemplate:
    @pytest.fixture
    def with_template(self, tmp_path):
        def make(text, **options):
            (tmp_path / "pod.yaml").write_text(text)
            return replace(OPTIONS, pod_template_file=str(tmp_path / "pod.yaml"), **options)

        return make

    def test_generated_part_is_laid_over_it(self, with_template):
        options = with_template(
            """
metadata: {name: x, namespace: y, labels: {team: sales}}
spec:
  restartPolicy: Always
  serviceAccountName: loader
  containers:
  - {name: base, image: theirs, args: [], command: [], env: [{name: A, value: "1"}]}
  - {name: side, image: side}
"""
        )
        pod = build(options=options)
        assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == (pod_name(KEY), "tasks")
        assert pod["metadata"]["labels"]["team"] == "sales"
        assert (pod["spec"]["restartPolicy"], pod["spec"]["serviceAccountName"]) == ("Never", "loader")
        assert [(c["name"], c["image"]) for c in pod["spec"]["containers"]] == [
            ("base", OPTIONS.image),
            ("side", "side"),
        ]
        assert (base_of(pod)["command"], "args" in base_of(pod)) == (COMMAND, False)
        assert environment(base_of(pod))["A"] == "1"
        kubernetes_validate.validate(pod, "1.35", strict=True)

    def test_its_image_counts_where_no_other_is_configured(self, with_template):
        options = with_template("spec: {containers: [{name: base, image: theirs}]}", image="")
        assert base_of(build(options=options))["image"] == "theirs"

    def test_its_command_is_a_wrapper(self, with_template):
        """Such as ``tini``, or an entry point that sets the environment up."""
        options = with_template("spec: {containers: [{name: base, command: [tini, --], args: [x]}]}")
        pod = build(override(containers=[{"command": ["sh"]}]), options)
        assert (base_of(pod)["command"], base_of(pod)["args"]) == (["tini", "--"], COMMAND)

    def test_its_task_api_url_wins_over_the_configured_one(self, with_template):
        """A cluster may reach the task API at an address of its own."""
        name = "HYBRID__CORE__EXECUTION_API_SERVER_URL"
        text = f"spec: {{containers: [{{name: base, env: [{{name: {name}, value: http://inside}}]}}]}}"
        assert environment(base_of(build(options=with_template(text))))[name] == "http://inside"

    def test_a_tasks_own(self, with_template, tmp_path):
        options = with_template("spec: {containers: [{name: base}]}")
        (tmp_path / "big.yaml").write_text("spec: {nodeSelector: {size: big}, containers: [{name: base}]}")
        assert build({"pod_template_file": "big.yaml"}, options)["spec"]["nodeSelector"] == {"size": "big"}
        assert "nodeSelector" not in build({}, options)["spec"]


class TestHook:
    def test_it_sees_the_whole_pod_and_changes_it_in_place(self):
        def hook(pod):
            assert isinstance(pod, k8s.V1Pod)
            assert pod.metadata.name == pod_name(KEY)
            assert pod.metadata.labels["dag_id"] == "sales"
            assert pod.spec.containers[0].command == COMMAND
            assert pod.spec.service_account_name == "sa"
            pod.metadata.labels["team"] = "sales"
            pod.spec.tolerations = [k8s.V1Toleration(key="spot", operator="Exists")]
            pod.spec.containers[0].env.append(k8s.V1EnvVar(name="A", value="1"))

        pod = build(override(service_account_name="sa"), hook=hook)
        assert pod["metadata"]["labels"]["team"] == "sales"
        assert pod["spec"]["tolerations"] == [{"key": "spot", "operator": "Exists"}]
        assert environment(base_of(pod))["A"] == "1"
        kubernetes_validate.validate(pod, "1.35", strict=True)

    def test_it_may_mix_objects_and_dictionaries(self):
        def hook(pod):
            pod.spec.tolerations = [k8s.V1Toleration(key="a"), {"key": "b", "toleration_seconds": 5}]

        assert build(hook=hook)["spec"]["tolerations"] == [{"key": "a"}, {"key": "b", "tolerationSeconds": 5}]

    def test_it_may_return_another_pod(self):
        made = k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", image="other")]))
        pod = build(hook=lambda _: made)
        assert base_of(pod)["image"] == "other"
        assert key_of(pod) == KEY
        assert pod["spec"]["restartPolicy"] == "Never"
        assert environment(base_of(pod))["HYBRID_START_TICKET"] == TICKET

    def test_what_the_executor_lives_on_stays(self):
        def hook(pod):
            pod.metadata.name = "mine"
            pod.metadata.labels = {"kubernetes_executor_done": "True"}
            pod.metadata.annotations = None
            pod.spec.restart_policy = "Always"
            pod.spec.containers[0].command = ["sh"]
            pod.spec.containers[0].args = ["x"]

        assert build(hook=hook) == build()

    def test_a_sidecar_put_before_the_task_comes_after_it(self):
        def hook(pod):
            pod.spec.containers.insert(0, k8s.V1Container(name="proxy", image="p"))

        assert [container["name"] for container in build(hook=hook)["spec"]["containers"]] == ["base", "proxy"]

    @pytest.mark.parametrize(
        ("hook", "message"),
        [
            (lambda pod: 1 / 0, "pod_mutation_hook raised ZeroDivisionError: division by zero"),
            (lambda pod: exit("two\nlines"), "pod_mutation_hook raised SystemExit: two lines"),  # noqa: PLR1722
            (lambda pod: "pod", "pod_mutation_hook returned str; expected a V1Pod, or None"),
            (
                lambda pod: pod.spec.containers.clear(),
                "pod_mutation_hook: spec.containers: the container 'base' is gone",
            ),
        ],
    )
    def test_what_is_wrong_with_it_is_one_line(self, hook, message):
        with pytest.raises(PodConfigError) as caught:
            build(hook=hook)
        assert str(caught.value) == message

    def test_it_is_found_by_its_path(self, tmp_path, monkeypatch):
        (tmp_path / "a_hook.py").write_text("def mutate(pod):\n    pod.metadata.labels['x'] = 'y'\nnumber = 5\n")
        (tmp_path / "a_broken_hook.py").write_text("1 / 0\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        hook = load_hook(replace(OPTIONS, pod_mutation_hook="a_hook.mutate"))
        assert build(hook=hook)["metadata"]["labels"]["x"] == "y"
        assert load_hook(OPTIONS) is None
        for path, reason in (
            ("mutate", "is no module.function"),
            ("a_hook.none", "cannot be imported: AttributeError"),
            ("no_such_module.f", "cannot be imported: ModuleNotFoundError"),
            ("a_broken_hook.f", "cannot be imported: ZeroDivisionError"),
            ("a_hook.number", "is no function"),
        ):
            with pytest.raises(ExecutorConfigError) as caught:
                load_hook(replace(OPTIONS, pod_mutation_hook=path))
            assert str(caught.value).startswith(f"KubernetesExecutor: option pod_mutation_hook = {path!r} {reason}")
