"""Follows the operators' standing orders: what an executor takes, and how many at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from sqlalchemy import Connection

from runtime.db.orders import HOW_MANY, Mode, Order, standing_orders
from runtime.scheduler.health import Health, LaneStatus
from runtime.scheduler.lanes import Lane

log = logging.getLogger(__name__)
_SHOWN = {Mode.PAUSED: Health.PAUSED, Mode.DRAINING: Health.DRAINING}


class StandingOrders:
    """For the scheduler's thread.

    :param lanes: by executor name.
    """

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = lanes
        self._orders: dict[str, Order] = {}
        self._seen = 0

    def has_changed(self, connection: Connection) -> bool:
        """Whether there are orders that were not looked at."""
        return connection.execute(HOW_MANY).scalar_one() != self._seen

    def look(self, connection: Connection) -> bool:
        """Read them, if there are new ones, and pass them on; return whether."""
        count = connection.execute(HOW_MANY).scalar_one()
        if count == self._seen:
            return False
        self._seen = count
        for name, order in standing_orders(connection).items():
            before = self._orders.get(name, Order(name))
            self._orders[name] = order
            if name in self._lanes:
                self._follow(self._lanes[name], before, order)
        return True

    def shown(self, status: LaneStatus) -> LaneStatus:
        """How an executor is under its orders. One that is sick is shown as sick first: an order is not the reason."""
        order = self._orders.get(status.name)
        if order is None or order.mode is Mode.ACTIVE or status.health is Health.UNAVAILABLE:
            return status
        return replace(status, health=_SHOWN[order.mode], reason=f"{order.mode} by {order.actor}")

    def of(self, name: str) -> Order:
        return self._orders.get(name, Order(name))

    def _follow(self, lane: Lane, before: Order, order: Order) -> None:
        if before.mode != order.mode:
            log.info("executor %s: %s, by order %d of %s", order.name, order.mode, order.id, order.actor)
        if before.parallelism != order.parallelism:
            shown = "as configured" if order.parallelism is None else str(order.parallelism)
            log.info("executor %s: parallelism %s, by order %d of %s", order.name, shown, order.id, order.actor)
            lane.resize(order.parallelism)
