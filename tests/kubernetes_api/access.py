"""Who may do what: one bearer token, verbs that are taken away from it, and users who may do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kubernetes_api.statuses import ApiError, forbidden, unauthorized

USER = "system:serviceaccount:default:hybrid"
ANY = "*"


@dataclass(slots=True)
class Access:
    """Everything is allowed to who knows the token, but for what :attr:`denied` names."""

    token: str
    powerless: dict[str, str] = field(default_factory=dict)
    """Token and name of users who may do nothing but ask what they may do."""
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    """Verb, resource and namespace, each of them or ``*``; a subresource is written ``pods/log``."""

    def user(self, headers: Mapping[str, str]) -> str:
        """Who asks. Raises 401."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token == self.token:
            return USER
        if scheme.lower() == "bearer" and token in self.powerless:
            return self.powerless[token]
        raise unauthorized()

    def allows(self, user: str, verb: str, resource: str, namespace: str | None) -> bool:
        asked = (verb, resource, namespace or "")
        return user == USER and not any(
            all(part in (ANY, value) for part, value in zip(rule, asked, strict=True)) for rule in self.denied
        )

    def authorize(self, user: str, verb: str, resource: str, namespace: str | None, name: str) -> None:
        """Raises 403."""
        if not self.allows(user, verb, resource, namespace):
            raise _refusal(user, verb, resource, namespace, name)

    def review(self, user: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A ``SelfSubjectAccessReview`` with its answer."""
        asked = (body.get("spec") or {}).get("resourceAttributes") or {}
        resource = "/".join(part for part in (asked.get("resource"), asked.get("subresource")) if part)
        allowed = self.allows(user, asked.get("verb", ""), resource, asked.get("namespace"))
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {"creationTimestamp": None},
            "spec": dict(body.get("spec") or {}),
            "status": {"allowed": allowed, **({"reason": "RBAC: allowed by RoleBinding"} if allowed else {})},
        }


def _refusal(user: str, verb: str, resource: str, namespace: str | None, name: str) -> ApiError:
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    why = f'User "{user}" cannot {verb} resource "{resource}" in API group "" {where}'
    return forbidden(resource.partition("/")[0], name, why)
