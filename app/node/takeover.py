"""Nodes that share a database watch over each other, and take over the jobs of a dead one.

The job engine recovers at its start what a node of the same name left behind; for the jobs of
another node it asks a paid service to tell which nodes are dead. Here every node counts up a number
in a table instead. Whoever sees another's number stand still for long enough, by its own clock (so
the clocks need not agree), hands the running workflows of that node back to the queues. This is
harmless for a node that was only slow: of a workflow's owners the engine accepts the latest alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import sqlalchemy as sa
from dbos import DBOS

from app.node.job_tables import NODES, in_transaction, insert_once

log = logging.getLogger(__name__)


class Takeover:
    """The heartbeat of one node, and its view of the others.

    Parameters
    ----------
    engine
        The database of the jobs.
    node
        Name of this node.
    dead_after_s
        How long another's number stands still before it is taken for dead.
    clock
        Seconds, monotonic.
    recover
        Hands the running workflows of the named nodes back to the queues, and tells how many;
        `recover_workflows` does it.
    """

    def __init__(
        self,
        engine: sa.Engine,
        node: str,
        dead_after_s: float,
        clock: Callable[[], float],
        recover: Callable[[list[str]], int],
    ):
        self._engine = engine
        self._node = node
        self._dead_after_s = dead_after_s
        self._clock = clock
        self._recover = recover
        self._seen: dict[str, tuple[int, float]] = {}

    def beat(self) -> None:
        """Tell the others that this node lives."""

        def work(connection: sa.Connection) -> None:
            if not insert_once(connection, NODES, {"node": self._node, "beat": 1}):
                mine = NODES.update().where(NODES.c.node == self._node)
                connection.execute(mine.values(beat=sa.func.abs(NODES.c.beat) + 1))

        in_transaction(self._engine, work)

    def leave(self) -> None:
        """Tell the others that this node ends, so that they need not wait."""
        mine = NODES.update().where(NODES.c.node == self._node)
        left = mine.values(beat=-sa.func.abs(NODES.c.beat))
        in_transaction(self._engine, lambda connection: connection.execute(left))

    def look(self) -> list[str]:
        """Take over from the nodes that are dead or have left; returns those with work."""
        others = NODES.select().where(NODES.c.node != self._node)
        rows = in_transaction(self._engine, lambda connection: connection.execute(others).all())
        now = self._clock()
        dead = [row.node for row in rows if self._is_dead(row.node, row.beat, now)]
        busy = [node for node in dead if self._recover([node])]
        for node in busy:
            log.warning("node %s is dead: its jobs go on here or at another node", node)
        return busy

    def _is_dead(self, node: str, beat: int, now: float) -> bool:
        if beat < 0:
            return True
        last, since = self._seen.get(node, (None, now))
        if beat != last:
            self._seen[node] = (beat, now)
            return False
        return now - since >= self._dead_after_s


def recover_workflows(nodes: list[str]) -> int:
    """Hand the running workflows of dead nodes back to their queues; returns how many.

    The engine has this for its own service and calls it internal; it is atomic per workflow, so
    two survivors may do it at once.
    """
    return len(DBOS._recover_pending_workflows(nodes))
