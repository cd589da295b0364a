"""What follows from news of a pod: decisions of :class:`Pods`, compared as data."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from executors.events import Accepted, Failed, Lost, Pending, Running, Unknown
from executors.kubernetes.building.naming import annotations_of, pod_name
from executors.kubernetes.leftovers import LONGEST_LEAVE, Keep, Remove
from executors.kubernetes.options import KubernetesOptions
from executors.kubernetes.pods import NO_REPORT, VANISHED, Pods
from executors.workload import TaskInstanceKey

PULL = "ImagePullBackOff: no such image"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """One launch and its pod."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.options = KubernetesOptions(namespace="jobs", namespaces=("jobs",), **options)
        self.pods = Pods(self.options, self.clock)
        self.key = TaskInstanceKey("dag", "task", "run", attempt_id=str(uuid.uuid4()))
        self.place = ("jobs", pod_name(self.key))

    def submit(self) -> None:
        self.pods.submitted(self.key, self.place)

    def create(self) -> None:
        self.submit()
        self.pods.created(self.key, self.pod())

    def pod(self, phase: str = "Pending", uid: str = "u1", **status: Any) -> dict[str, Any]:
        namespace, name = self.place
        notes = annotations_of(self.key)
        metadata = {"namespace": namespace, "name": name, "uid": uid, "annotations": notes}
        return {"metadata": metadata, "status": {"phase": phase, **status}}

    def ended(self, code: int, reason: str = "Error", uid: str = "u1") -> dict[str, Any]:
        terminated = {"exitCode": code, "reason": reason}
        status = {"name": "base", "state": {"terminated": terminated}}
        return self.pod("Failed" if code else "Succeeded", uid, containerStatuses=[status])

    def waiting(self, reason: str, message: str) -> dict[str, Any]:
        status = {"name": "base", "state": {"waiting": {"reason": reason, "message": message}}}
        return self.pod(containerStatuses=[status])

    def running(self) -> dict[str, Any]:
        return self.pod("Running", containerStatuses=[{"name": "base", "state": {"running": {}}}])

    def remove(self, uid: str = "u1", *, log: bool = True) -> Remove:
        return Remove(self.place, uid, self.key if log else None)

    def keep(self) -> Keep:
        return Keep(self.place, "u1", self.key)

    def later(self, seconds: float) -> list[Any]:
        """What follows from time alone; no list has been made meanwhile."""
        self.clock.now += seconds
        return self.pods.due(0.0)

    def listed(self) -> list[Any]:
        """What follows from a list that has begun just now."""
        self.clock.now += 1.0
        return self.pods.due(self.clock.now)


@pytest.fixture
def world() -> World:
    return World()


# -- the usual way -----------------------------------------------------------------------------------------------------


def test_a_launch_from_creation_to_its_end(world: World) -> None:
    world.submit()
    external = "/".join(world.place)
    assert world.pods.created(world.key, world.pod()) == [Accepted(world.key, external)]
    assert world.pods.seen(world.pod()) == []
    assert world.pods.seen(world.running()) == [Running(world.key)]
    assert world.pods.seen(world.running()) == []
    world.pods.reported(world.key)
    assert world.pods.seen(world.running()) == []
    assert world.pods.seen(world.ended(0)) == [world.remove()]
    assert world.pods.deleted(world.ended(0)) == []
    assert world.key not in world.pods


def test_the_watch_may_be_quicker_than_the_answer(world: World) -> None:
    world.submit()
    accepted = Accepted(world.key, "/".join(world.place))
    assert world.pods.seen(world.running()) == [accepted, Running(world.key)]
    assert world.pods.created(world.key, world.pod()) == []


def test_pod_that_is_made_after_the_watch_has_shown_an_earlier_ones_end(world: World) -> None:
    """Handed over again, the attempt has ended by its first pod; the second is none too many for long."""
    world.submit()
    world.pods.seen(world.ended(0, uid="old"))
    assert world.pods.created(world.key, world.pod(uid="new")) == [world.remove("new")]
    assert world.pods.created(world.key, world.ended(0, uid="old")) == []


def test_a_report_may_come_before_the_answer_to_the_creation(world: World) -> None:
    world.submit()
    world.pods.reported(world.key)
    assert world.pods.created(world.key, world.pod()) == []
    assert world.pods.seen(world.ended(1)) == [world.keep()]


def test_reasons_for_waiting_are_passed_on_when_they_change(world: World) -> None:
    world.submit()
    assert world.pods.postponed(world.key, "exceeded quota") == [Pending(world.key, "exceeded quota")]
    assert world.pods.postponed(world.key, "exceeded quota") == []
    accepted = Accepted(world.key, "/".join(world.place))
    assert world.pods.created(world.key, world.pod()) == [accepted, Pending(world.key)]
    backoff = world.waiting("ImagePullBackOff", "no such image")
    assert world.pods.seen(backoff) == [Pending(world.key, PULL)]
    assert world.pods.seen(backoff) == []
    assert world.pods.seen(world.running()) == [Pending(world.key), Running(world.key)]


def test_doubt_is_no_end(world: World) -> None:
    world.create()
    world.pods.seen(world.running())
    lost_node = world.pod("Unknown", reason="NodeUnreachable", message="silent")
    (unknown,) = world.pods.seen(lost_node)
    assert isinstance(unknown, Unknown)
    assert world.pods.seen(lost_node) == []
    assert Running(world.key) in world.pods.seen(world.running())


# -- ends without a report ---------------------------------------------------------------------------------------------


def test_success_without_a_report_costs_a_try(world: World) -> None:
    world.create()
    failed = Failed(world.key, NO_REPORT, refused=True, ended=True)
    assert world.pods.seen(world.ended(0)) == [failed, world.remove()]


def test_failure_is_told_with_its_exit_code_and_the_pod_is_kept(world: World) -> None:
    world.create()
    failed, kept = world.pods.seen(world.ended(137, "OOMKilled"))
    assert (type(failed), failed.ended, failed.refused) == (Failed, True, False)
    assert "OOMKilled" in failed.reason
    assert kept == world.keep()


def test_exit_code_3_says_nothing_of_the_attempt(world: World) -> None:
    """Another launch of it has been granted the start, and may run on."""
    world.create()
    failed, _ = world.pods.seen(world.ended(3))
    assert (type(failed), failed.ended, failed.refused) == (Failed, False, False)


def test_eviction_is_a_loss(world: World) -> None:
    world.create()
    evicted = world.pod("Failed", reason="Evicted", message="the node was low on memory")
    lost, kept = world.pods.seen(evicted)
    assert isinstance(lost, Lost)
    assert kept == world.keep()


def test_fatal_reason_refuses_and_deletes(world: World) -> None:
    world.create()
    refused, removed = world.pods.seen(world.waiting("InvalidImageName", "bad"))
    assert (type(refused), refused.refused) == (Failed, True)
    assert removed == world.remove(log=False)


def test_refused_creation(world: World) -> None:
    world.submit()
    assert world.pods.refused(world.key, "422: no") == [Failed(world.key, "422: no", refused=True)]
    assert world.key not in world.pods


def test_refused_creation_after_an_answer_was_lost(world: World) -> None:
    """The call that was given up may have made a pod: none is left behind, however late it is seen."""
    world.submit()
    refused = world.pods.refused(world.key, "no answer (tried 1 times)", uncertain=True)
    assert refused == [Failed(world.key, "no answer (tried 1 times)", refused=True), world.remove("")]
    assert world.pods.seen(world.pod()) == [world.remove()]
    assert world.key not in world.pods


@pytest.mark.parametrize("news", ["seen", "started"])
def test_refused_creation_of_a_pod_that_is_there(world: World, news: str) -> None:
    """An earlier call, whose answer was lost, has made it; it is this attempt's, and goes on."""
    world.submit()
    if news == "seen":
        world.pods.seen(world.running())
    else:
        world.pods.started(world.key)
    assert world.pods.refused(world.key, "forbidden", uncertain=True) == []
    world.pods.seen(world.running())
    assert world.pods.seen(world.ended(1)) == [Failed(world.key, "exit code 1", ended=True), world.keep()]


def test_started_and_not_on_the_list(world: World) -> None:
    world.submit()
    world.pods.started(world.key)
    assert world.listed() == [Lost(world.key, VANISHED)]
    assert world.key not in world.pods


def test_copy_of_a_pod_is_not_the_attempts(world: World) -> None:
    """Somebody looks into what went wrong: the end of his copy ends nothing, and nobody takes it away."""
    world.create()
    world.pods.seen(world.running())
    copied = world.ended(1, uid="u2")
    copied["metadata"]["name"] = "my-copy"
    assert world.pods.seen(copied) == []
    assert world.later(1000.0) == []
    assert world.pods.deleted(copied) == []
    assert world.pods.seen(world.ended(0)) == [Failed(world.key, NO_REPORT, refused=True, ended=True), world.remove()]


def test_deleted_by_hand_is_a_loss(world: World) -> None:
    world.create()
    world.pods.seen(world.running())
    (lost,) = world.pods.deleted(world.running())
    assert (type(lost), lost.ended) == (Lost, False)
    assert world.key not in world.pods


def test_deletion_of_a_pod_that_had_ended_tells_its_end(world: World) -> None:
    world.create()
    (failed,) = world.pods.deleted(world.ended(2))
    assert (type(failed), failed.ended) == (Failed, True)


def test_deleted_while_its_create_was_in_flight(world: World) -> None:
    """The watch tells of the deletion first, then comes the answer to the creation."""
    world.submit()
    assert world.pods.deleted(world.pod()) == []
    (lost,) = world.pods.created(world.key, world.pod())
    assert isinstance(lost, Lost)


def test_deletion_of_an_earlier_pod_of_that_name_is_no_loss(world: World) -> None:
    """The same attempt handed over again, while its first pod is going."""
    world.submit()
    assert world.pods.deleted(world.pod(uid="old")) == []
    assert world.pods.created(world.key, world.pod(uid="new")) == [Accepted(world.key, "/".join(world.place))]
    assert world.pods.deleted(world.pod(uid="old")) == []
    assert world.pods.seen(world.ended(0, uid="new"))[0] == Failed(world.key, NO_REPORT, refused=True, ended=True)


def test_created_and_missed_by_the_watch_and_gone(world: World) -> None:
    world.create()
    assert world.later(3600.0) == []
    assert world.listed() == [Lost(world.key, VANISHED)]
    assert world.listed() == []


def test_list_from_before_its_creation_proves_nothing(world: World) -> None:
    before = world.clock.now
    world.clock.now += 1.0
    world.create()
    assert world.pods.due(before) == []
    world.pods.seen(world.pod())
    assert world.listed() == []


def test_launched_again_after_its_pod_had_ended(world: World) -> None:
    """The same attempt, handed over twice: its old pod is judged."""
    world.submit()
    accepted, failed, kept = world.pods.created(world.key, world.ended(1))
    assert (accepted, failed.ended, kept) == (
        Accepted(world.key, "/".join(world.place)), True, world.keep(),
    )  # fmt: skip


# -- revoking ----------------------------------------------------------------------------------------------------------


def test_revoked_pod_is_deleted_with_its_log_kept(world: World) -> None:
    world.create()
    assert world.pods.revoked(world.key) == [world.remove()]
    assert world.pods.deleted(world.running()) == []


@pytest.mark.parametrize("by_the_watch", [True, False])
def test_revoked_while_its_create_is_in_flight(world: World, by_the_watch: bool) -> None:
    world.submit()
    assert world.pods.revoked(world.key) == [world.remove("")]
    news = world.pods.seen(world.pod()) if by_the_watch else world.pods.created(world.key, world.pod())
    assert news == [world.remove()]
    assert world.key not in world.pods


def test_revoked_and_never_created_is_forgotten_in_the_end(world: World) -> None:
    world.submit()
    world.pods.revoked(world.key)
    assert world.later(LONGEST_LEAVE + 1) == []
    assert world.key not in world.pods


def test_revoked_and_adopted_before_it_was_seen(world: World) -> None:
    """It may be in another namespace than one would think: it is deleted where it is seen, if it is."""
    world.pods.adopted(world.key, world.place)
    assert world.pods.revoked(world.key) == [world.remove("")]
    assert world.pods.seen(world.running()) == [world.remove()]
    world.pods.adopted(world.key, world.place)
    world.pods.revoked(world.key)
    assert world.listed() == []
    assert world.key not in world.pods


# -- adoption ----------------------------------------------------------------------------------------------------------


def test_adopted_pod_is_told_of_as_if_it_were_new(world: World) -> None:
    world.pods.adopted(world.key, world.place)
    assert world.pods.seen(world.running()) == [Accepted(world.key, "/".join(world.place)), Running(world.key)]


def test_adopted_and_ended_meanwhile(world: World) -> None:
    world.pods.adopted(world.key, world.place)
    kinds = [type(act) for act in world.pods.seen(world.ended(1))]
    assert kinds == [Accepted, Failed, Keep]


def test_adopted_and_not_on_the_list(world: World) -> None:
    world.pods.adopted(world.key, world.place)
    assert world.listed() == [Lost(world.key, VANISHED)]


# -- cleaning up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delete", "on_failure", "code", "removed"),
    [
        (True, False, 0, True),
        (True, False, 1, False),
        (True, True, 1, True),
        (False, False, 0, False),
        (False, True, 1, False),
    ],
)
def test_what_is_deleted_and_what_is_kept(delete: bool, on_failure: bool, code: int, removed: bool) -> None:
    world = World(delete_worker_pods=delete, delete_worker_pods_on_failure=on_failure)
    world.create()
    world.pods.reported(world.key)
    expected = world.remove() if removed else world.keep()
    assert world.pods.seen(world.ended(code)) == [expected]


def test_pod_whose_other_containers_go_on_is_deleted_in_any_case() -> None:
    """As with a proxy of a service mesh. Kept, it would run until somebody finds it: nobody watches what is kept."""
    world = World(delete_worker_pods=False)
    world.create()
    base = {"name": "base", "state": {"terminated": {"exitCode": 1}}}
    proxy = {"name": "proxy", "state": {"running": {}}}
    failed = Failed(world.key, "exit code 1", ended=True)
    assert world.pods.seen(world.pod("Running", containerStatuses=[base, proxy])) == [failed, world.remove()]


@pytest.mark.parametrize(("options", "code"), [({}, 1), ({"delete_worker_pods": False}, 0)])
def test_pod_is_kept_though_its_phase_comes_a_moment_after_its_end(options: dict[str, Any], code: int) -> None:
    """The kubelet holds the phase back until it is sure that no container runs."""
    world = World(**options)
    world.create()
    world.pods.reported(world.key)
    base = {"name": "base", "state": {"terminated": {"exitCode": code}}}
    assert world.pods.seen(world.pod("Running", containerStatuses=[base])) == [world.keep()]


def test_reported_pod_that_does_not_end_is_deleted(world: World) -> None:
    world.create()
    world.pods.seen(world.running())
    world.pods.reported(world.key)
    assert world.later(world.options.end_grace - 1) == []
    assert world.later(2) == [world.remove()]
    assert world.later(3600) == []


def test_reported_and_never_seen_is_forgotten_in_the_end(world: World) -> None:
    """The call that made its pod got no answer, and the pod was gone before the watch could show it."""
    world.submit()
    world.pods.reported(world.key)
    assert world.later(61.0) == [world.remove("")]
    assert world.later(LONGEST_LEAVE + 1.0) == []
    assert world.key not in world.pods


def test_leftover_that_could_not_be_cleaned_up_is_not_forgotten(world: World) -> None:
    """The right to delete pods was missing for a while; each list tells of such a pod again."""
    world.pods.seen(world.ended(0))
    assert world.later(61.0) == [world.remove()]
    world.pods.seen(world.ended(0))
    assert world.later(LONGEST_LEAVE + 1.0) == []
    world.pods.seen(world.ended(0))
    assert world.later(61.0) == [world.remove()]


def test_leftover_is_cleaned_up_by_age(world: World) -> None:
    """A pod that has ended, and of which no launch is known here."""
    assert world.pods.seen(world.ended(0)) == []
    assert world.pods.seen(world.ended(0)) == []
    assert world.later(world.options.leftover_after - 1) == []
    assert world.later(2) == [world.remove()]
    assert world.pods.seen(world.ended(0)) == []
    assert world.later(3600 - 1) == []


def test_leftover_that_its_own_scheduler_cleans_up_is_left_alone(world: World) -> None:
    world.pods.seen(world.ended(0))
    world.pods.deleted(world.ended(0))
    assert world.later(3600) == []


def test_pod_of_another_scheduler_is_left_alone_while_it_runs(world: World) -> None:
    assert world.pods.seen(world.running()) == []
    assert world.later(1_000_000) == []


def test_pod_that_never_begins_and_is_nobodys_is_deleted_by_age(world: World) -> None:
    """Its task was cleared while no scheduler ran, so nobody will ever revoke it."""
    world.pods.seen(world.pod())
    assert world.later(world.options.pending_leftover_after - 1) == []
    world.pods.seen(world.waiting("ImagePullBackOff", "back-off"))
    assert world.later(2) == [world.remove(log=False)]


def test_pod_that_begins_after_all_or_is_adopted_is_not(world: World) -> None:
    world.pods.seen(world.pod())
    world.pods.seen(world.running())
    assert world.later(1_000_000) == []
    other = World()
    other.pods.seen(other.pod())
    other.pods.adopted(other.key, other.place)
    other.pods.seen(other.pod())
    assert other.later(4000) == []


def test_leftover_that_is_adopted_is_no_leftover(world: World) -> None:
    world.pods.seen(world.ended(0))
    world.pods.adopted(world.key, world.place)
    world.pods.seen(world.ended(0))
    assert world.later(3000) == []


def test_pod_without_our_annotations_is_nobodys_business(world: World) -> None:
    foreign = world.ended(0)
    del foreign["metadata"]["annotations"]
    assert world.pods.seen(foreign) == world.pods.deleted(foreign) == world.later(3600) == []


def test_everything_is_removed_in_the_end(world: World) -> None:
    world.create()
    assert world.pods.all_removed() == [world.remove(log=False)]
    assert world.pods.is_settled
