from __future__ import annotations

import os
from typing import Any

import pytest

from operators.deploy_core import Application, CountCondition, Operator, OperatorSpec


class Source(Operator):
    def __init__(self, fragment: Any, *, values: list[int], name: str):
        self.values = values
        super().__init__(fragment, CountCondition(fragment, 1), name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.output("value")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        if not self.values:
            raise LookupError("nothing to send")
        op_output.emit(self.values, "value")


class Sink(Operator):
    def __init__(self, fragment: Any, *, received: list[list[int]], name: str):
        self.received = received
        super().__init__(fragment, name=name)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("value")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        self.received.append(op_input.receive("value"))


class Pipe(Application):
    def __init__(self, values: list[int]):
        self.values = values
        self.received: list[list[int]] = []
        super().__init__()

    def compose(self) -> None:
        source = Source(self, values=self.values, name="source")
        sink = Sink(self, received=self.received, name="sink")
        self.add_flow(source, sink, {("value", "value")})


def test_a_graph_hands_on_the_very_object_and_runs_again_and_again() -> None:
    for number in range(5):
        values = [number, number + 1]
        pipe = Pipe(values)
        pipe.run()
        assert len(pipe.received) == 1
        assert pipe.received[0] is values


def test_what_an_operator_raises_comes_out_of_the_run_as_itself() -> None:
    with pytest.raises(LookupError, match="nothing to send"):
        Pipe([]).run()
    again = Pipe([1])
    again.run()
    assert again.received == [[1]]


def test_the_engine_keeps_quiet_unless_told_otherwise(capfd: pytest.CaptureFixture[str]) -> None:
    assert os.environ["HOLOSCAN_LOG_LEVEL"] == "OFF"
    Pipe([1]).run()
    with pytest.raises(LookupError):
        Pipe([]).run()
    assert capfd.readouterr() == ("", "")
