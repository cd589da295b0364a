"""What lists and events say is known; and whoever missed some is told of it by the next list."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from executors.kubernetes.errors import ClusterUnreachableError, GoneError, KubernetesError, status_error
from executors.kubernetes.viewing import Course, Deleted, List, News, Pod, Seen, View, Wait, Watch, place

GONE = status_error("watch pods", {"message": "too old"}, 410)
UNREACHABLE = ClusterUnreachableError("refused")


def _pod(name: str, version: int, uid: str = "", **metadata: Any) -> Pod:
    return {
        "metadata": {
            "namespace": "jobs",
            "name": name,
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            **metadata,
        }
    }


def test_a_list_tells_what_differs() -> None:
    view = View()
    assert not view.synced
    a, b = _pod("a", 1), _pod("b", 2)
    assert view.listed([a, b], "5") == [Seen(a), Seen(b)]
    assert view.synced
    changed, new = _pod("b", 7), _pod("c", 8)
    assert view.listed([changed, new], "9") == [Deleted(a), Seen(changed), Seen(new)]
    assert view.listed([changed, new], "10") == []


def test_each_list_tells_of_pods_that_have_ended() -> None:
    """Whatever was done to clean them up, it has not worked."""
    view = View()
    ended, running = ({**_pod(name, 1), "status": {"phase": name}} for name in ("Failed", "Running"))
    view.listed([ended, running], "5")
    assert view.listed(copy.deepcopy([ended, running]), "6") == [Seen(ended)]


def test_news_show_no_secret() -> None:
    """A pod has the start ticket in its environment."""
    pod = {**_pod("a", 1), "spec": {"containers": [{"env": [{"name": "TICKET", "value": "s3cret"}]}]}}
    assert "s3cret" not in repr([Seen(pod), Deleted(pod)])


def test_another_pod_of_the_same_name() -> None:
    """The first one's end must not be missed."""
    view = View()
    old, new = _pod("a", 1, "one"), _pod("a", 5, "two")
    view.listed([old], "1")
    assert view.listed([new], "6") == [Deleted(old), Seen(new)]
    newer = _pod("a", 9, "three")
    assert view.happened("ADDED", newer) == [Deleted(new), Seen(newer)]


def test_events() -> None:
    view = View()
    view.listed([], "1")
    first, second, last = _pod("a", 2), _pod("a", 3), _pod("a", 4)
    assert view.happened("ADDED", first) == [Seen(first)]
    assert view.happened("MODIFIED", second) == [Seen(second)]
    assert view.happened("MODIFIED", second) == []
    assert view.happened("DELETED", last) == [Deleted(last)]
    assert view.pods == {}
    assert view.resource_version == "4"


def test_bookmarks_only_move_the_version() -> None:
    view = View()
    view.listed([_pod("a", 1)], "1")
    assert view.happened("BOOKMARK", {"metadata": {"resourceVersion": "77"}}) == []
    assert view.resource_version == "77"
    assert len(view.pods) == 1


def test_unknown_kinds_of_events_are_ignored() -> None:
    view = View()
    view.listed([], "1")
    assert view.happened("CHEERED", _pod("a", 9)) == []
    assert view.resource_version == "1"


def test_managed_fields_are_not_kept() -> None:
    view = View()
    view.listed([_pod("a", 1, managedFields=[{"manager": "kubelet"}])], "1")
    assert "managedFields" not in view.pods["jobs", "a"]["metadata"]


class ViewMachine(RuleBasedStateMachine):
    """A cluster whose events may be missed, and one that believes what the view tells."""

    @initialize()
    def begin(self) -> None:
        self.view = View()
        self.cluster: dict[str, Pod] = {}
        self.believed: dict[tuple[str, str], Pod] = {}
        self.version = 0
        self.made = 0
        self.missed = True

    def _tick(self) -> int:
        self.version += 1
        return self.version

    def _tell(self, kind: str, pod: Pod, heard: bool) -> None:
        if heard and not self.missed:
            self._believe(self.view.happened(kind, copy.deepcopy(pod)))
        else:
            self.missed = True

    def _believe(self, news: list[News]) -> None:
        for one in news:
            where = place(one.pod)
            known = self.believed.get(where)
            if isinstance(one, Deleted):
                assert known is None or known["metadata"]["uid"] == one.pod["metadata"]["uid"]
                self.believed.pop(where, None)
            else:
                assert known is None or known["metadata"]["uid"] == one.pod["metadata"]["uid"]
                assert known != one.pod
                self.believed[where] = one.pod

    @rule(name=st.sampled_from("abc"), heard=st.booleans())
    def create_or_change(self, name: str, heard: bool) -> None:
        known = self.cluster.get(name)
        if known is None:
            self.made += 1
        uid = known["metadata"]["uid"] if known else f"uid-{self.made}"
        self.cluster[name] = _pod(name, self._tick(), uid)
        self._tell("MODIFIED" if known else "ADDED", self.cluster[name], heard)

    @rule(name=st.sampled_from("abc"), heard=st.booleans())
    def delete(self, name: str, heard: bool) -> None:
        pod = self.cluster.pop(name, None)
        if pod is not None:
            pod["metadata"]["resourceVersion"] = str(self._tick())
            self._tell("DELETED", pod, heard)

    @rule()
    def relist(self) -> None:
        self._believe(self.view.listed(copy.deepcopy(list(self.cluster.values())), str(self.version)))
        self.missed = False

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "view"):
            return
        assert self.believed == self.view.pods
        if not self.missed:
            assert self.believed == {place(pod): pod for pod in self.cluster.values()}


TestViewMachine = ViewMachine.TestCase


def test_list_then_watch_then_list_again() -> None:
    course = Course(relist_interval=60.0, inactivity=30.0)
    assert course.step(0.0) == List()
    course.listed(0.0, draw=0.9999999)
    assert course.step(0.0) == Watch(30.0)
    course.watched(30.0, False, 30.0, 0.5)
    step = course.step(35.0)
    assert isinstance(step, Watch)
    assert 20.0 < step.seconds <= 25.0
    assert course.step(60.0) == List()


def test_a_lost_place_is_found_by_a_list() -> None:
    course = Course(60.0, 30.0)
    course.listed(0.0, 0.5)
    course.failed(GONE, True, 1.0, 0.5)
    assert isinstance(course.step(1.0), Wait)
    assert course.step(1.1) == List()


def test_a_broken_watch_goes_on_where_it_was() -> None:
    course = Course(60.0, 30.0)
    course.listed(0.0, 0.5)
    course.failed(UNREACHABLE, False, 1.0, 0.5)
    assert isinstance(course.step(2.0), Watch)


def test_what_is_no_event_makes_a_list() -> None:
    """From the same place the watch would bring it again."""
    course = Course(60.0, 30.0)
    course.listed(0.0, 0.5)
    course.failed(KubernetesError("read an event: DecodeError"), False, 1.0, 0.5)
    assert course.step(2.0) == List()


def test_watches_that_end_at_once_slow_down() -> None:
    course = Course(600.0, 30.0)
    course.listed(0.0, 0.5)
    waits, now = [], 0.0
    for _ in range(6):
        course.watched(0.001, False, now, 0.5)
        step = course.step(now)
        assert isinstance(step, Wait)
        waits.append(step.seconds)
        now += step.seconds
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]
    course.watched(0.001, True, now, 0.5)
    assert isinstance(course.step(now), Watch)


def test_the_server_says_when() -> None:
    course = Course(60.0, 30.0)
    course.failed(status_error("list pods", {}, 429, 17.0), False, 0.0, 0.5)
    assert course.step(0.0) == Wait(17.0)


TURN = st.tuples(st.sampled_from(["well", "gone", "unreachable", "junk"]), st.floats(0, 40), st.booleans())


@given(turns=st.lists(TURN, max_size=60), interval=st.floats(0.05, 100), inactivity=st.floats(0.05, 100))
def test_course_never_stands_still(turns: list[tuple[str, float, bool]], interval: float, inactivity: float) -> None:
    """It never watches what it has not listed, lists as often as it should, and waits ten seconds at most."""
    course, now = Course(interval, inactivity), 0.0
    must_list, listed = True, 0.0
    for outcome, lasted, heard in turns:
        step = course.step(now)
        if isinstance(step, Wait):
            assert 0 < step.seconds <= 10.0
            now += step.seconds
            step = course.step(now)
        assert not isinstance(step, Wait)
        if isinstance(step, Watch):
            assert not must_list
            assert 0 < step.seconds <= inactivity
            assert now + step.seconds <= listed + interval + 0.001
        now += lasted
        if outcome != "well":
            error = {"gone": GONE, "unreachable": UNREACHABLE, "junk": KubernetesError("junk")}[outcome]
            must_list = must_list or outcome != "unreachable"
            course.failed(error, heard, now, 0.5)
        elif isinstance(step, List):
            must_list, listed = False, now
            course.listed(now, 0.5)
        else:
            course.watched(lasted, heard, now, 0.5)
    assert isinstance(GONE, GoneError)
