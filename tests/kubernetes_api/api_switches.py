"""What a test can turn in the API server: what requests and watches meet."""

from __future__ import annotations

import secrets

from tests.kubernetes_api import statuses
from tests.kubernetes_api.faults import ANY, Fault
from tests.kubernetes_api.switching import DEFAULT, Turned, switch


class ApiSwitches(Turned):
    """Verbs are get, list, watch, create, update, patch, delete, deletecollection; resources ``pods``, ``pods/log``,
    ``namespaces``, ``version``, ``selfsubjectaccessreviews``. ``*``: any. ``times=None``: until :meth:`heal`.
    """

    # ---- what requests meet

    @switch
    def fail(
        self,
        status: int = 500,
        verb: str = ANY,
        *,
        resource: str = ANY,
        message: str = "",
        reason: str | None = None,
        retry_after: int | None = None,
        times: int | None = None,
        skip: int = 0,
        after: bool = False,
    ) -> None:
        """Refuse calls with this status; ``after``: carry them out first."""
        text = message or _MESSAGES.get(status, "the fake was told to fail")
        error = statuses.ApiError(status, text, reason=reason, retry_after=retry_after)
        fault = Fault(verb, resource, times, error=error, after=after, skip=skip)
        self.server.api.faults.requests.append(fault)

    @switch
    def throttle(self, retry_after: int | None = 1, verb: str = "create", *, times: int | None = None) -> None:
        """429 Too Many Requests, with ``Retry-After`` in seconds unless ``None``."""
        error = statuses.ApiError(429, _MESSAGES[429], retry_after=retry_after)
        self.server.api.faults.requests.append(Fault(verb, ANY, times, error=error))

    @switch
    def quota_conflict(self, times: int = 1) -> None:
        """409: two creations have met in the quota's counter. The next one may get through."""
        error = statuses.modified("resourcequotas", "pods-quota")
        self.server.api.faults.requests.append(Fault("create", "pods", times, error=error))

    @switch
    def delay(self, seconds: float, verb: str = ANY, *, resource: str = ANY, times: int | None = None) -> None:
        """Every call takes so much longer; a long delay is a server that hangs."""
        self.server.api.faults.requests.append(Fault(verb, resource, times, delay=seconds))

    @switch
    def drop(
        self,
        verb: str = ANY,
        *,
        resource: str = ANY,
        times: int | None = None,
        skip: int = 0,
        after: bool = False,
    ) -> None:
        """Close the connection instead of an answer; ``after``: once the call was carried out."""
        fault = Fault(verb, resource, times, drop=True, after=after, skip=skip)
        self.server.api.faults.requests.append(fault)

    @switch
    def heal(self) -> None:
        """No request, and no new watch, meets a fault any more. What access, quotas and pods have been told stays."""
        self.server.api.faults.clear()

    @switch
    def set_quota(self, pods: int | None, namespace: str = DEFAULT) -> None:
        """A ``ResourceQuota`` of the namespace; ``None``: no more."""
        if pods is None:
            self.server.api.registry.quotas.pop(namespace, None)
        else:
            self.server.api.registry.quotas[namespace] = pods

    @switch
    def forbid(self, verb: str = ANY, resource: str = "pods", namespace: str = ANY) -> None:
        """RBAC grants it no more: 403, and no in access reviews."""
        self.server.api.access.denied.add((verb, resource, namespace))

    @switch
    def allow_all(self) -> None:
        self.server.api.access.denied.clear()

    @switch
    def set_token(self, token: str) -> None:
        """The old one is worth nothing: 401."""
        self.server.api.access.token = token

    @switch
    def add_user(self, name: str) -> str:
        """Say the token of a new user without any rights."""
        token = f"fake-{secrets.token_urlsafe(24)}"
        self.server.api.access.powerless[token] = name
        return token

    @switch
    def add_namespace(self, name: str) -> None:
        self.server.api.create_namespace(name)

    @switch
    def break_connections(self) -> None:
        """Abort all that are open."""
        self.server.listener.break_connections()

    # ---- what watches meet

    @switch
    def mute_watches(self) -> None:
        """Half-open connections: the streams that run, and new ones until :meth:`heal`, say nothing, no bookmark."""
        self.server.api.watches.mute()
        self.server.api.faults.mute_watches = True

    @switch
    def break_watches(self) -> None:
        """Abort the streams that run."""
        self.server.api.watches.break_()

    @switch
    def expire_watches(self) -> None:
        """The streams that run end by an ERROR event: 410 Gone."""
        revision = self.server.api.registry.store.revision
        self.server.api.watches.expire(statuses.gone(f"too old resource version: {revision - 1} ({revision})"))

    @switch
    def compact(self) -> int:
        """Forget the history: older revisions are Gone. Say the revision."""
        self.server.api.registry.store.tick()
        return self.server.api.registry.store.compact()

    @switch
    def refuse_old_watches(self) -> None:
        """A revision that is too old is answered by HTTP 410 instead of by an ERROR event, until :meth:`heal`."""
        self.server.api.faults.gone_as_http = True

    @switch
    def withhold_events(self, count: int) -> None:
        """So many of the next changes reach no watch, ever."""
        self.server.api.faults.withheld_events = count

    @switch
    def duplicate_events(self, yes: bool = True) -> None:
        """Each change reaches each watch twice."""
        self.server.api.faults.duplicate_events = yes


_MESSAGES = {
    429: "Too many requests, please try again later.",
    500: "Internal error occurred: etcdserver: request timed out",
    503: "the server is currently unable to handle the request",
}
