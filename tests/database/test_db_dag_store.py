"""What the DAG processor finds: versions, owners of DAG ids, errors, files that are gone."""

from __future__ import annotations

import pytest

from runtime.core.specs import DagSpec, ParsedFile
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import Database
from runtime.db.queries import list_dags, list_import_errors
from runtime.db.schema import dag_version
from tests.database.builders import HOURLY, START, World, spec, task


def errors(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        return [(row["rel_path"], row["error"]) for row in list_import_errors(connection)]


def active(database: Database) -> list[str]:
    with database.read() as connection:
        return [row["dag_id"] for row in list_dags(connection)]


def versions(world: World, dag_id: str = "d") -> list[int]:
    return sorted(row.version_number for row in world.rows(dag_version, dag_version.c.dag_id == dag_id))


def test_a_new_version_for_each_change_and_none_without(world: World) -> None:
    world.save(spec("d"), file_hash="1")
    world.save(spec("d"), file_hash="1")
    assert versions(world) == [1]
    world.save(spec("d", task("other")), file_hash="2")
    assert versions(world) == [1, 2]
    newest = world.row(dag_version, dag_version.c.version_number == 2)
    assert (world.dag("d").version_id, newest.file_hash, newest.rel_path) == (newest.id, "2", "dags.py")


def test_same_graph_from_a_changed_file_is_a_new_version(world: World) -> None:
    """The code behind the graph changed, and a worker compares the file's hash."""
    world.save(spec("d"), file_hash="1")
    world.save(spec("d"), file_hash="2")
    assert versions(world) == [1, 2]


def test_a_run_keeps_the_version_it_was_created_with(world: World) -> None:
    world.save(spec("d", task("old")))
    run = world.trigger("d")
    world.save(spec("d", task("new")))
    assert [node.spec.task_id for node in world.claim(run).graph.nodes] == ["old"]
    assert [node.spec.task_id for node in world.claim(world.trigger("d")).graph.nodes] == ["new"]


def test_pause_switch_is_the_users_once_the_dag_is_known(world: World) -> None:
    world.save(spec("d"), paused=True)
    world.save(spec("d", is_paused_upon_creation=False), paused=False)
    assert world.dag("d").is_paused


def test_dag_says_whether_it_is_paused_at_first(world: World) -> None:
    world.save(spec("a", is_paused_upon_creation=False), spec("b", is_paused_upon_creation=True), paused=True)
    assert (world.dag("a").is_paused, world.dag("b").is_paused) == (False, True)


def test_broken_file_keeps_the_last_good_version(world: World) -> None:
    world.save(spec("d"), file_hash="1")
    store = DatabaseDagStore(world.database)
    store.save(ParsedFile("dags.py", "2", error="SyntaxError: invalid syntax (dags.py, line 3)"))
    assert errors(world.database) == [("dags.py", "SyntaxError: invalid syntax (dags.py, line 3)")]
    assert (active(world.database), versions(world)) == (["d"], [1])
    assert world.trigger("d").run_id, "its DAG runs on"


def test_mended_file_loses_its_error(world: World) -> None:
    store = DatabaseDagStore(world.database)
    store.save(ParsedFile("dags.py", "1", error="boom"))
    store.save(ParsedFile("dags.py", "2", error="boom again"))
    assert errors(world.database) == [("dags.py", "boom again")]
    world.save(spec("d"))
    assert errors(world.database) == []


def test_dag_id_belongs_to_the_file_that_brought_it_first(world: World) -> None:
    world.save(spec("d", task("mine")), rel_path="a.py")
    world.save(spec("d", task("theirs")), spec("innocent"), rel_path="b.py")
    assert errors(world.database) == [
        ("b.py", "DAG id 'd' is already defined in a.py; rename it there or in b.py, or remove one of the files")
    ]
    assert (active(world.database), world.dag("d").rel_path, versions(world)) == (["d"], "a.py", [1])


def test_dag_may_move_once_its_file_is_gone(world: World) -> None:
    world.save(spec("d"), rel_path="a.py")
    DatabaseDagStore(world.database).forget(["a.py"])
    world.save(spec("d"), rel_path="b.py")
    assert (errors(world.database), world.dag("d").rel_path, world.dag("d").is_active) == ([], "b.py", True)
    assert versions(world) == [1, 2]


def test_dag_that_left_its_file_is_inactive_and_comes_back(world: World) -> None:
    world.save(spec("a"), spec("b"))
    world.save(spec("a"))
    assert active(world.database) == ["a"]
    world.save(spec("a"), spec("b"))
    assert active(world.database) == ["a", "b"]


def test_forgotten_files_leave_neither_dags_nor_errors(world: World) -> None:
    store = DatabaseDagStore(world.database)
    world.save(spec("d"), rel_path="a.py")
    world.save(spec("e"), rel_path="keep.py")
    store.save(ParsedFile("b.py", "1", error="boom"))
    assert store.known_files() == ["a.py", "b.py", "keep.py"]
    store.forget(["a.py", "b.py"])
    assert (store.known_files(), active(world.database), errors(world.database)) == (["keep.py"], ["e"], [])
    assert versions(world) == [1], "its runs still need it"


def test_file_without_dags_is_no_error(world: World) -> None:
    world.save(rel_path="empty.py")
    assert (errors(world.database), active(world.database)) == ([], [])


def test_next_run_is_worked_out_when_the_schedule_changes(world: World) -> None:
    world.save(spec("d", timetable=HOURLY, start_date=START, catchup=True))
    first = world.dag("d").next_run_after
    assert first is not None
    world.save(spec("d", timetable=HOURLY, start_date=START - 3_600_000_000, catchup=True))
    assert world.dag("d").next_run_after == first - 3_600_000_000
    world.save(spec("d"))
    assert world.dag("d").next_run_after is None


@pytest.mark.parametrize(
    ("dag", "told"),
    [
        (spec("d", owner="o" * 251), "DAG d: owner 'oooooooooooooooooooooooooooooooooooooooo' is not allowed"),
        (spec("d", max_active_runs=2**31), "DAG d: max_active_runs = 2147483648; it must be at most 2147483647"),
        (spec("d", task("t", queue="q" * 251)), "task t of DAG d: queue"),
        (spec("d", task("t", pool="p\0")), "task t of DAG d: pool"),
        (spec("d", task("t", priority_weight=-(2**31))), "task t of DAG d: priority_weight = -2147483648"),
        (spec("d", task("t", retries=2**40)), "task t of DAG d: retries"),
    ],
)
def test_what_no_column_holds_is_an_import_error(world: World, dag: DagSpec, told: str) -> None:
    """On SQLite too, where it would fit: what is tried there runs on PostgreSQL."""
    world.save(dag)
    ((rel_path, error),) = errors(world.database)
    assert rel_path == "dags.py"
    assert error.startswith(told)
    assert active(world.database) == []


def test_texts_of_people_may_hold_anything(world: World) -> None:
    """A NUL above all, which PostgreSQL cannot store: an error that quotes one must be shown all the same."""
    DatabaseDagStore(world.database).save(ParsedFile("x.py", "hash", error="bytes \0 and \u2028 ’ 😀"))
    assert errors(world.database) == [("x.py", "bytes \\0 and \u2028 ’ 😀")]
    world.save(spec("d", description="a\0b"))
    assert world.dag("d").description == "a\\0b"
