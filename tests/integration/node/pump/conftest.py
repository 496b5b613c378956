"""A listener for peers that write their PDUs themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.node.access import ListenerSettings
from app.node.instance_store import InstanceStore
from app.node.listener import Listener
from app.node.store_disk import StoreSettings
from tests.integration.node.pump.raw_peer import MAX_PDU, Start


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InstanceStore]:
    store = InstanceStore(tmp_path / "state", StoreSettings(min_free_bytes=0, reserved_bytes=0))
    yield store
    store.close()


@pytest.fixture
def start(store: InstanceStore) -> Iterator[Start]:
    started: list[Listener] = []

    def start(**settings: object) -> Listener:
        options = {"bind_address": "127.0.0.1", "port": 0, "max_pdu_bytes": MAX_PDU, **settings}
        listener = Listener(ListenerSettings.model_validate(options), store)
        listener.start()
        started.append(listener)
        return listener

    yield start
    for listener in started:
        listener.stop(5)
