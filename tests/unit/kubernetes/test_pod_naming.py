"""Names, labels and annotations of pods, for whatever ids there may be."""

from __future__ import annotations

import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from executors.kubernetes.building.naming import (
    annotations_of,
    key_of,
    label_value,
    labels,
    pod_name,
    selector,
)
from executors.kubernetes.options import KubernetesOptions
from executors.workload import TaskInstanceKey
from tests.unit.kubernetes.pods import ATTEMPT, KEY, OPTIONS

DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
uuids = st.uuids().map(str)
texts = st.text(max_size=300)
keys = st.builds(
    TaskInstanceKey, texts, texts, texts, st.integers(1, 10**6), st.integers(-1, 10**6), st.one_of(uuids, texts)
)


class TestNames:
    def test_name_says_dag_task_and_attempt(self):
        assert pod_name(KEY) == "sales-load-0190b6a27c007abc8def0123456789ab"

    def test_long_ids_leave_something_of_both(self):
        key = TaskInstanceKey("a_very_long_name_of_a_dag", "and_a_long_name_of_a_task", "r", attempt_id=ATTEMPT)
        assert pod_name(key) == f"a-very-long-nam-and-a-long-nam-{ATTEMPT.replace('-', '')}"

    def test_ids_without_a_latin_letter_have_a_name_too(self):
        assert pod_name(TaskInstanceKey("…", "日本", "r", attempt_id=ATTEMPT)).startswith("task-0190b6a2")

    @given(keys)
    def test_any_key_has_one_dns_label(self, key):
        assert DNS_LABEL.fullmatch(pod_name(key))
        assert pod_name(key) == pod_name(key)

    @given(keys, st.lists(st.one_of(uuids, texts), min_size=2, max_size=5, unique=True))
    def test_two_attempts_never_share_a_name(self, key, attempts):
        names = {
            pod_name(TaskInstanceKey(key.dag_id, key.task_id, key.run_id, key.try_number, key.map_index, attempt))
            for attempt in attempts
        }
        assert len(names) == len(attempts)

    @given(st.lists(st.tuples(texts, texts, texts), min_size=2, max_size=5, unique=True), st.just("no-uuid"))
    def test_an_attempt_id_that_is_no_uuid_is_not_trusted_to_be_unique(self, ids, attempt):
        assert len({pod_name(TaskInstanceKey(*each, attempt_id=attempt)) for each in ids}) == len(ids)


class TestLabels:
    @given(keys, texts, texts)
    def test_all_values_are_allowed(self, key, name, deployment):
        found = labels(key, KubernetesOptions(name=name, deployment=deployment))
        assert all(LABEL_VALUE.fullmatch(value) for value in found.values())

    @given(st.lists(texts, min_size=2, max_size=8, unique=True))
    def test_distinct_texts_have_distinct_values(self, found):
        assert len({label_value(text) for text in found}) == len(found)

    def test_a_safe_value_stays_as_it_is(self):
        assert label_value("dag.with-3_parts") == "dag.with-3_parts"

    def test_names_are_those_of_airflow_and_the_instance(self):
        found = labels(TaskInstanceKey("d", "t", "r", 3, 5, ATTEMPT), OPTIONS)
        found.pop("hybrid_version", None)  # of an installed distribution only
        assert found == {
            "dag_id": "d",
            "task_id": "t",
            "run_id": "r",
            "try_number": "3",
            "map_index": "5",
            "kubernetes_executor": "True",
            "hybrid_executor": "KubernetesExecutor",
            "hybrid_deployment": "prod",
        }

    def test_a_task_that_is_not_mapped_has_no_map_index(self):
        assert "map_index" not in labels(KEY, OPTIONS)

    def test_the_selector_finds_its_pods_until_they_are_done(self):
        assert selector(OPTIONS) == (
            "kubernetes_executor=True,hybrid_executor=KubernetesExecutor,hybrid_deployment=prod,"
            "kubernetes_executor_done!=True"
        )

    @given(texts, texts, uuids)
    def test_the_selector_of_an_instance_has_the_values_of_its_labels(self, name, deployment, attempt):
        options = KubernetesOptions(name=name, deployment=deployment)
        found = labels(TaskInstanceKey("d", "t", "r", attempt_id=attempt), options)
        wanted = [part.split("=", 1) for part in selector(options).split(",") if "!=" not in part]
        assert all(found[key] == value for key, value in wanted)


def _pod(key, annotations):
    return {"metadata": {"name": pod_name(key), "annotations": annotations}}


class TestAnnotations:
    @given(keys)
    def test_the_key_comes_back(self, key):
        assert key_of(_pod(key, annotations_of(key))) == key

    def test_copy_under_another_name_has_no_key(self):
        """A person's, to look into what went wrong: what becomes of it says nothing of the attempt."""
        copied = {"metadata": {"name": f"{pod_name(KEY)}-debug", "annotations": annotations_of(KEY)}}
        assert key_of(copied) is None

    def test_other_pods_have_no_key(self):
        notes = annotations_of(KEY)
        assert key_of({}) is None
        assert key_of(_pod(KEY, None)) is None
        for name in notes:
            assert key_of(_pod(KEY, {k: v for k, v in notes.items() if k != name})) is None
        assert key_of(_pod(KEY, {**notes, "hybrid.dev/try-number": "two"})) is None

    def test_ids_that_are_no_uuid_are_kept_exactly(self):
        key = TaskInstanceKey("d", "t", "r", attempt_id=str(uuid.UUID(int=5)).upper())
        assert key_of(_pod(key, annotations_of(key))) == key
