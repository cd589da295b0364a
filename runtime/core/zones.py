"""Time zones by name: IANA names, ``UTC``, and fixed offsets such as ``+05:30``."""

from __future__ import annotations

import difflib
import re
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache

from runtime.core.errors import HybridError

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


class UnknownZoneError(HybridError):
    """A time zone that this machine does not know; the message suggests a near name."""


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """The zone of that name. Raises :class:`UnknownZoneError`."""
    if name == "UTC":
        return timezone.utc  # noqa: UP017  the name prints alike on every supported version
    offset = _OFFSET.fullmatch(name)
    if offset and int(offset[2]) < 24 and int(offset[3]) < 60:
        length = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-length if offset[1] == "-" else length)
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "use an IANA name such as 'Europe/Berlin'"
        raise UnknownZoneError(f"unknown time zone {name!r}; {hint}") from None


def zone_name(value: tzinfo) -> str:
    """The name under which :func:`zone` finds ``value`` again: of zoneinfo, pendulum, pytz, dateutil-free objects.

    Raises :class:`UnknownZoneError` where the object tells neither a name nor a fixed offset.
    """
    for attribute in ("key", "name", "zone"):
        name = getattr(value, attribute, None)
        if isinstance(name, str) and name:
            zone(name)
            return name
    fixed = value.utcoffset(None)
    if fixed is None:
        raise UnknownZoneError(f"time zone {value!r} has no name; use zoneinfo.ZoneInfo('Area/City')")
    minutes = round(fixed.total_seconds() / 60)
    if minutes == 0:
        return "UTC"
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
