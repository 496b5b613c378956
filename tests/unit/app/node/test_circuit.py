from __future__ import annotations

from pathlib import Path

from app.node.circuit import Circuit, Circuits, CircuitSettings
from app.node.delivery import Delivery, FileResult, Verdict


def _delivery(*results: tuple[Verdict, bool]) -> Delivery:
    return Delivery(
        destination="pacs",
        results=tuple(
            FileResult(path=Path("a.dcm"), verdict=verdict, retryable=retryable, text="")
            for verdict, retryable in results
        ),
    )


GOOD = _delivery((Verdict.STORED, False), (Verdict.WARNING, False))
DOWN = _delivery((Verdict.FAILED, True))
REFUSED = _delivery((Verdict.STORED, False), (Verdict.REFUSED, False))
PARTLY = _delivery((Verdict.STORED, False), (Verdict.REFUSED, False), (Verdict.FAILED, True))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_circuit_opens_after_failures_one_after_another() -> None:
    circuit = Circuit(CircuitSettings(failures=2, open_s=30), Clock())
    for delivery in (DOWN, GOOD, DOWN):
        assert circuit.wait_s() == 0
        circuit.record(delivery)
    assert circuit.state == "closed"
    circuit.record(PARTLY)
    assert circuit.state == "open"
    assert circuit.wait_s() == 30


def test_what_is_refused_for_good_speaks_for_the_destination() -> None:
    circuit = Circuit(CircuitSettings(failures=1), Clock())
    circuit.record(REFUSED)
    assert circuit.state == "closed"


def test_one_probe_decides_whether_a_circuit_closes() -> None:
    clock = Clock()
    circuit = Circuit(CircuitSettings(failures=1, open_s=30), clock)
    circuit.record(DOWN)
    clock.now += 20
    assert circuit.wait_s() == 10
    clock.now += 10
    assert circuit.wait_s() == 0
    assert circuit.state == "half-open"
    assert circuit.wait_s() == 30  # the others wait for the probe
    circuit.record(DOWN)
    assert circuit.state == "open"
    assert circuit.wait_s() == 30
    clock.now += 30
    assert circuit.wait_s() == 0
    circuit.record(GOOD)
    assert circuit.state == "closed"
    assert circuit.wait_s() == 0
    assert circuit.wait_s() == 0


def test_a_probe_that_never_reports_is_given_up() -> None:
    clock = Clock()
    circuit = Circuit(CircuitSettings(failures=1, open_s=30), clock)
    circuit.record(DOWN)
    clock.now += 30
    assert circuit.wait_s() == 0
    clock.now += 29
    assert circuit.wait_s() == 1
    clock.now += 1
    assert circuit.wait_s() == 0


def test_one_dead_destination_blocks_no_other() -> None:
    circuits = Circuits(CircuitSettings(failures=1, open_s=30), Clock())
    circuits.of("dead").record(DOWN)
    assert circuits.of("dead").wait_s() == 30
    assert circuits.of("alive").wait_s() == 0
    assert circuits.of("dead") is circuits.of("dead")
