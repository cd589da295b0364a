"""What an operator should know of a broker and its workers, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from executors.celery.options import CeleryOptions


def complaint(
    options: CeleryOptions, workers: Mapping[str, int] | None, waiting: Mapping[str, int], results: str
) -> str | None:
    """What is wrong, most urgent first; ``None`` where nothing is.

    :param workers: by queue; ``None`` where nobody could be asked.
    :param waiting: by queue, attempts that nobody has taken.
    :param results: the trouble with the result backend, if any.
    """
    found: list[str] = []
    if workers is not None:
        unread = sorted(queue for queue in waiting if not workers.get(queue))
        if not workers:
            found.append("no Celery worker answers")
        else:
            found += [f"no worker reads queue {queue}, where {waiting[queue]} attempts wait" for queue in unread]
    if results:
        found.append(results)
    found += [end.warning for end in (options.broker, options.result_backend) if end is not None and end.warning]
    return "; ".join(dict.fromkeys(found)) or None
