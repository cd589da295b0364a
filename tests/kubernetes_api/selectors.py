"""Label and field selectors: ``a=b,c!=d,e in (f,g),h notin (i),j,!k`` and ``status.phase!=Running``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kubernetes_api.statuses import bad_request

Predicate = Callable[[Mapping[str, Any]], bool]
"""Says whether an object is meant."""
_KEY = r"(?P<key>[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)"
_VALUE = r"(?P<value>(?:[A-Za-z0-9][-A-Za-z0-9_.]*)?)"
_SET = re.compile(rf"{_KEY}\s+(?P<operator>in|notin)\s+\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*{_VALUE}")
_EXISTS = re.compile(rf"(?P<operator>!?)\s*{_KEY}")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^()]*\))")
_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
)


def everything(obj: Mapping[str, Any]) -> bool:
    """No selector."""
    return True


def by_labels(selector: str) -> Predicate:
    """A label that is missing differs from every value. Raises :class:`ApiError` 400."""
    if not selector.strip():
        return everything
    tests = [_label_test(part.strip()) for part in _COMMA_OUTSIDE_PARENTHESES.split(selector)]

    def matches(obj: Mapping[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return matches


def _label_test(text: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.fullmatch(text):
        key, wanted = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["operator"] == "in":
            return lambda labels: labels.get(key) in wanted
        return lambda labels: labels.get(key) not in wanted
    if found := _EQUALITY.fullmatch(text):
        key, value = found["key"], found["value"]
        if found["operator"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.fullmatch(text):
        key, there = found["key"], not found["operator"]
        return lambda labels: (key in labels) is there
    raise bad_request(f"unable to parse requirement: found '{text}'")


def by_fields(selector: str) -> Predicate:
    """Raises :class:`ApiError` 400 for a field that pods cannot be selected by."""
    if not selector.strip():
        return everything
    tests = [_field_test(part.strip(), selector) for part in selector.split(",")]
    return lambda obj: all(test(obj) for test in tests)


def _field_test(text: str, whole: str) -> Predicate:
    found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", text)
    if found is None:
        raise bad_request(f"invalid selector: '{whole}'; can't understand '{text}'")
    path, operator, value = found[1].strip(), found[2], found[3].strip()
    if path not in _FIELDS:
        raise bad_request(f"field label not supported: {path}")
    first, second = path.split(".")
    wanted = operator != "!="
    return lambda obj: ((obj.get(first, {}).get(second) or "") == value) is wanted


def both(one: Predicate, other: Predicate) -> Predicate:
    if one is everything:
        return other
    return one if other is everything else lambda obj: one(obj) and other(obj)
