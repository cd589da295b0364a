"""Which template is read, and what is said of a bad one."""

from __future__ import annotations

import os
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.kubernetes.building import template
from executors.kubernetes.building.template import DEFAULT, LARGEST, load_template, parse_template
from executors.kubernetes.errors import PodConfigError
from tests.unit.kubernetes.pods import OPTIONS

POD = """
apiVersion: v1
kind: Pod
metadata: {name: ignored, labels: {team: sales}}
spec:
  containers:
    - name: base
      image: %s
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "templates"
    made.mkdir()
    (made / "pod.yaml").write_text(POD % "one")
    return made


@pytest.fixture
def options(folder):
    return replace(OPTIONS, pod_template_file=str(folder / "pod.yaml"))


def image(path, options):
    return load_template(path, options)["spec"]["containers"][0]["image"]


class TestWhich:
    def test_the_shipped_one_is_restricted(self):
        pod = load_template(None, OPTIONS)
        assert pod == {
            "apiVersion": "v1",
            "kind": "Pod",
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 90,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "base",
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        }

    def test_the_configured_one(self, options):
        assert image(None, options) == "one"

    def test_a_copy_each_time(self, options):
        load_template(None, options)["spec"]["containers"][0]["image"] = "changed"
        assert image(None, options) == "one"

    def test_a_change_of_the_file_is_seen(self, options, folder):
        assert image(None, options) == "one"
        (folder / "pod.yaml").write_text(POD % "twotwo")
        assert image(None, options) == "twotwo"

    def test_a_file_that_has_not_changed_is_not_parsed_again(self, options, monkeypatch):
        load_template(None, options)
        monkeypatch.setattr(template, "parse_template", None)
        assert image(None, options) == "one"

    def test_few_are_kept(self, options, folder):
        for number in range(120):
            (folder / f"{number}.yaml").write_text(POD % f"v{number}")
            assert image(f"{number}.yaml", options) == f"v{number}"
        assert len(template._cache) <= 100


class TestOfATask:
    """``executor_config["pod_template_file"]`` is written by a DAG's author and read by the scheduler."""

    def test_beside_the_configured_one_and_below(self, options, folder):
        (folder / "big").mkdir()
        (folder / "big" / "pod.yaml").write_text(POD % "big")
        assert image("big/pod.yaml", options) == "big"
        assert image(str(folder / "big" / "pod.yaml"), options) == "big"
        assert image("pod.yaml", options) == image(str(folder / "pod.yaml"), options) == "one"

    @pytest.mark.parametrize("path", ["../secret.yaml", "/etc/passwd", "big/../../secret.yaml", "..", "link.yaml"])
    def test_elsewhere_is_refused_and_not_read(self, options, folder, path):
        (folder.parent / "secret.yaml").write_text(POD % "secret")
        (folder / "link.yaml").symlink_to(folder.parent / "secret.yaml")
        with pytest.raises(PodConfigError, match=f"is outside of {folder}, the folder of the executor's own template$"):
            load_template(path, options)

    def test_without_a_configured_one_no_folder_is_open(self):
        with pytest.raises(PodConfigError, match="no folder of templates is open to tasks"):
            load_template("pod.yaml", OPTIONS)

    def test_a_mounted_config_map_whose_files_are_links(self, tmp_path):
        """Kubernetes mounts one as links through ``..data`` into a folder with a date."""
        mount = tmp_path / "mount"
        real = mount / "..2026_01_01"
        real.mkdir(parents=True)
        for name in ("pod", "big"):
            (real / f"{name}.yaml").write_text(POD % name)
        (mount / "..data").symlink_to("..2026_01_01")
        for name in ("pod", "big"):
            (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
        options = replace(OPTIONS, pod_template_file=str(mount / "pod.yaml"))
        assert [image(path, options) for path in (None, "pod.yaml", "big.yaml")] == ["pod", "pod", "big"]

    def test_the_configured_one_may_be_a_link_to_elsewhere(self, tmp_path, folder):
        link = tmp_path / "pod.yaml"
        link.symlink_to(folder / "pod.yaml")
        options = replace(OPTIONS, pod_template_file=str(link))
        assert image(str(link), options) == image("pod.yaml", options) == "one"

    @pytest.mark.parametrize("path", ["a\0b", "two\nlines", "x" * 1001])
    def test_what_is_no_path(self, options, path):
        with pytest.raises(PodConfigError, match="it is no path"):
            load_template(path, options)

    @given(st.text(max_size=300))
    def test_whatever_the_author_writes_is_one_line(self, path):
        with pytest.raises(PodConfigError) as caught:
            load_template(path, replace(OPTIONS, pod_template_file="/no-such-folder/pod.yaml"))
        assert str(caught.value).isprintable()


class TestBadFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "expected a mapping, not nothing"),
            ("a: [", "line 1, column 5: expected the node content, but found '<stream end>'"),
            ("a: b\n c: d", "line 2, column 3: mapping values are not allowed here"),
            ("a: b\n---\na: c", "line 2, column 1: but found another document"),
            ("\x01", "it is no YAML (ReaderError)"),
            ("a: !!python/object/apply:os.system [x]", "line 1, column 4: could not determine a constructor for the "
             "tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
            ("kind: Deployment", "kind: expected apiVersion v1 and kind Pod"),
            ("kind: Pod", "spec.containers: there is none; the first one, 'base', runs the task"),
            ("spec: {containers: []}", "spec.containers: there is none; the first one, 'base', runs the task"),
            ("spec: {containers: [{name: main}]}", "spec.containers[0].name: the first container runs the task: call "
             "it 'base'"),
            ("spec: {containers: [{name: base, imag: x}]}", "spec.containers[0].imag: V1Container has no such field; "
             "did you mean image?"),
            ("metadata: {labels: {on: yes}}", "metadata.labels: one of its keys is true or false, not text; put it in "
             "quotes"),
            ("metadata: {labels: {a: 2026-01-01}}", "metadata.labels.a: expected text, not a date; put it in quotes"),
        ],
    )  # fmt: skip
    def test_line_names_file_and_field(self, text, message):
        with pytest.raises(PodConfigError) as caught:
            parse_template(text.encode(), "/t/pod.yaml")
        assert str(caught.value) == f"pod_template_file /t/pod.yaml: {message}"

    def test_too_large(self):
        with pytest.raises(PodConfigError, match=f"larger than {LARGEST} bytes"):
            parse_template(b"#" * (LARGEST + 1), "x")

    def test_aliases_that_multiply(self):
        doubled = "".join(f"e{n}: &e{n} [*e{n - 1}, *e{n - 1}]\n" for n in range(1, 40))
        with pytest.raises(PodConfigError, match="e0: V1Pod has no such field"):
            parse_template(f"e0: &e0 [x]\n{doubled}".encode(), "x")
        args = "&c {name: base, args: [a]}"
        many = f"spec: {{containers: [{args}, {'*c, ' * 60_000}]}}"
        with pytest.raises(PodConfigError, match="more than 50000 values"):
            parse_template(many.encode(), "x")

    def test_a_file_that_is_not_there(self, folder):
        options = replace(OPTIONS, pod_template_file=str(folder / "none.yaml"))
        with pytest.raises(PodConfigError, match=r"^pod_template_file .*none\.yaml: No such file or directory$"):
            load_template(None, options)

    def test_a_pipe_does_not_block(self, folder):
        os.mkfifo(folder / "pipe")
        with pytest.raises(PodConfigError, match="it is no regular file"):
            load_template(None, replace(OPTIONS, pod_template_file=str(folder / "pipe")))

    def test_a_folder(self, folder):
        with pytest.raises(PodConfigError, match="it is no regular file"):
            load_template(None, replace(OPTIONS, pod_template_file=str(folder)))

    def test_a_bad_one_is_tried_again_once_it_is_mended(self, folder, options):
        (folder / "pod.yaml").write_text("kind: Job")
        with pytest.raises(PodConfigError, match="kind"):
            load_template(None, options)
        (folder / "pod.yaml").write_text(POD % "good")
        assert image(None, options) == "good"


def test_the_shipped_file_is_in_the_distribution():
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    data = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]["package-data"]["executors"]
    assert "kubernetes/building/*.yaml" in data
    assert DEFAULT.parts[-4:] == ("executors", "kubernetes", "building", "default_pod.yaml")
