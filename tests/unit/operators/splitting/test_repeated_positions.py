"""Images at the same positions: phases, energies, times. Headers alone decide here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def test_one_volume_is_one_part_without_a_name(scanner):
    scanner.scan(range(9), scanner.axes(20, 30))
    (only,) = scanner.candidates()
    assert (only.part, only.notes, only.name) == ("", (), "1.2.3")
    uids = [frame.SOPInstanceUID for frame in only.frames]
    assert uids == sorted(uids)
    assert len(uids) == 9


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("KVP", (120, 100)),
        ("ConvolutionKernel", ("B30s", "B31s")),
        ("SliceThickness", (2.5, 3)),
        ("AcquisitionNumber", (1, 2)),
        ("AcquisitionTime", ("101500", "101501")),
        ("ContrastBolusAgent", (None, "AGENT")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], ["ORIGINAL", "PRIMARY"])),
        ("ImageType", (["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"], None)),
    ],
)
@pytest.mark.parametrize("is_alternating", [False, True])
def test_an_element_that_changes_within_a_volume_does_not_split_it(
    scanner, keyword, values, is_alternating
):
    if keyword == "AcquisitionNumber" and is_alternating:
        values = (1, 1)  # two acquisitions that interleave are told apart

    def value(n: int) -> Any:
        return values[n % 2 if is_alternating else n // 5]

    for n in range(10):
        chosen = value(n)
        elements = {} if chosen is None and keyword != "ImageType" else {keyword: chosen}
        scanner.scan([n], **elements)
    (only,) = scanner.candidates()
    assert only.part == ""
    assert len(only.frames) == 10


def test_two_phases_are_told_apart_by_acquisition_number(scanner):
    for n in range(6):  # written slice by slice, both phases in turn
        for phase in (2, 10):
            scanner.scan([n], scanner.axes(10, 20), AcquisitionNumber=phase)
    assert scanner.parts() == {
        "AcquisitionNumber 2": [1, 3, 5, 7, 9, 11],
        "AcquisitionNumber 10": [2, 4, 6, 8, 10, 12],
    }
    (note,) = scanner.candidates()[0].notes
    assert note == "12 images at 6 positions: told apart by AcquisitionNumber into 2 parts"


def test_acquisition_numbers_that_continue_one_another_stay_together(scanner):
    scanner.scan(range(4), AcquisitionNumber=1)
    scanner.scan(range(4, 8), AcquisitionNumber=2)
    scanner.scan(range(7, 3, -1), AcquisitionNumber=3)
    scanner.scan(range(3, -1, -1), AcquisitionNumber=4)
    assert scanner.parts() == {
        "AcquisitionNumber 1 to 2": scanner.numbers(1, 8),
        "AcquisitionNumber 3 to 4": scanner.numbers(9, 16),
    }


def test_acquisition_numbers_of_single_slices_form_passes(scanner):
    for first in (1, 21):
        scanner.scan(range(12), AcquisitionNumber=lambda n, first=first: first + n)
    assert scanner.parts() == {
        "AcquisitionNumber 1 to 12": scanner.numbers(1, 12),
        "AcquisitionNumber 21 to 32": scanner.numbers(13, 24),
    }


def test_two_acquisitions_that_overlap_by_two_slices_are_two(scanner):
    scanner.scan(range(20), AcquisitionNumber=1)
    scanner.scan(range(18, 40), AcquisitionNumber=2)
    assert scanner.parts() == {
        "AcquisitionNumber 1": scanner.numbers(1, 20),
        "AcquisitionNumber 2": scanner.numbers(21, 42),
    }


@pytest.mark.parametrize("has_numbers", [True, False])
def test_a_chain_of_overlapping_table_positions_is_cut_at_each_overlap(scanner, has_numbers):
    for n in range(3):
        scanner.scan(range(10 * n, 10 * n + 12), AcquisitionNumber=n + 1 if has_numbers else None)
    found = scanner.candidates()
    assert list(scanner.parts(found).values()) == [
        scanner.numbers(1, 12),
        scanner.numbers(13, 24),
        scanner.numbers(25, 36),
    ]
    by = "AcquisitionNumber 3" if has_numbers else "InstanceNumber 25 to 36"
    assert found[2].part == by


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("TemporalPositionIdentifier", (2, 10), ("2", "10")),
        ("KVP", ("80", "140"), ("80", "140")),
        (
            "ImageType",
            (["ORIGINAL", "PRIMARY", "AXIAL", "E1"], ["ORIGINAL", "PRIMARY", "AXIAL", "E2"]),
            (r"ORIGINAL\PRIMARY\AXIAL\E1", r"ORIGINAL\PRIMARY\AXIAL\E2"),
        ),
        ("RescaleType", ("HU", "Z_EFF"), ("HU", "Z_EFF")),
        ("NominalPercentageOfCardiacPhase", (40.0, 75.0), ("40", "75")),
        ("ConvolutionKernel", ("B30f", "B70f"), ("B30f", "B70f")),
        ("FilterType", ("BODY", "HEAD"), ("BODY", "HEAD")),
        ("SliceThickness", ("2.50", "5"), ("2.5", "5")),
        ("ReconstructionDiameter", (360, 500), ("360", "500")),
        ("TriggerTime", (300, 700), ("300", "700")),
        ("ContentTime", ("101500", "101730.5"), ("101500", "101730.5")),
    ],
)
def test_each_telling_element_separates_what_lies_at_the_same_positions(
    scanner, keyword, values, names
):
    for n in (3, 1, 0, 2):
        for value in values:
            scanner.scan([n], **{keyword: value})
    assert scanner.parts() == {
        f"{keyword} {names[0]}": [1, 3, 5, 7],
        f"{keyword} {names[1]}": [2, 4, 6, 8],
    }


def test_an_agent_is_named_by_its_order_only_since_it_is_free_text(scanner):
    scanner.scan(range(4))
    scanner.scan(range(4), ContrastBolusAgent="for Jane Doe")
    scanner.instances[0].header.AcquisitionTime = "1015"
    first, second = scanner.candidates()
    assert first.part == "no ContrastBolusAgent"
    assert second.part == "ContrastBolusAgent 2 of 2"


def test_two_energies_with_two_kernels_are_four_parts(scanner):
    for n in range(4):
        for kvp in (80, 140):
            for kernel in ("B30f", "B70f"):
                scanner.scan([n], KVP=kvp, ConvolutionKernel=kernel)
    assert scanner.parts() == {
        "KVP 80, ConvolutionKernel B30f": [1, 5, 9, 13],
        "KVP 80, ConvolutionKernel B70f": [2, 6, 10, 14],
        "KVP 140, ConvolutionKernel B30f": [3, 7, 11, 15],
        "KVP 140, ConvolutionKernel B70f": [4, 8, 12, 16],
    }


def test_cine_at_few_positions_gives_a_part_for_each_time(scanner):
    for shot in range(30):
        scanner.scan(range(4), AcquisitionTime=scanner.clock(1.5 * shot), AcquisitionNumber=1)
    found = scanner.candidates()
    assert [len(c.frames) for c in found] == [4] * 30
    assert found[1].part == "AcquisitionTime 100001.500000"
    assert scanner.parts(found)["AcquisitionTime 100043.500000"] == scanner.numbers(117, 120)


def test_cine_at_one_position_gives_single_images(scanner):
    scanner.scan([0] * 40, AcquisitionNumber=lambda n: n + 1)
    assert [c.part for c in scanner.candidates()] == [
        f"AcquisitionNumber {n + 1}" for n in range(40)
    ]


@pytest.mark.parametrize("resolution_s", [0.02, 0.25, 1.0])
def test_passes_of_a_helical_scan_are_cut_where_time_goes_on_and_the_table_turns_back(
    scanner, resolution_s
):
    for start, slices in ((5, range(35)), (65, range(34, -1, -1))):
        scanner.scan(
            slices,
            ContentDate="20260102",
            ContentTime=lambda n, s=start: scanner.clock(
                round(int((s + 0.1 * n) / resolution_s + 1e-6) * resolution_s, 6)
            ),
        )
    for instance in scanner.instances:  # tells nothing
        instance.header.InstanceNumber = int(instance.SOPInstanceUID.split(".")[-1])
    first, second = scanner.candidates()
    assert {i.SOPInstanceUID for i in scanner.instances[:35]} == {
        frame.SOPInstanceUID for frame in first.frames
    }
    assert len(second.frames) == 35
    assert first.part.startswith("ContentTime 100005.000000 to 1000")
    assert "by the order of ContentTime into 2 parts" in first.notes[0]


def test_time_past_midnight_counts_with_its_date(scanner):
    for n in range(6):
        late = n < 3
        scanner.scan(
            [n],
            AcquisitionDateTime=f"2026010{1 if late else 2}{'2359' if late else '0001'}0{n}+0100",
        )
    scanner.scan(range(6), AcquisitionDateTime=lambda n: f"2026010200050{n}+0100")
    found = scanner.candidates(seed=1)
    assert list(scanner.parts(found).values()) == [scanner.numbers(1, 6), scanner.numbers(7, 12)]
    assert found[0].part == "AcquisitionTime 235900 to 000105"


def test_the_order_of_instance_numbers_is_the_last_resort(scanner):
    scanner.scan(range(10))
    scanner.scan(range(9, -1, -1))
    scanner.scan(range(2, 8))
    assert scanner.parts() == {
        "InstanceNumber 1 to 10": scanner.numbers(1, 10),
        "InstanceNumber 11 to 20": scanner.numbers(11, 20),
        "InstanceNumber 21 to 26": scanner.numbers(21, 26),
    }


@pytest.mark.parametrize("block", [1, 2, 4])
def test_an_order_that_alternates_between_two_scans_never_mixes_them(scanner, block):
    for start in range(0, 24, block):
        for _ in range(2):
            scanner.scan(range(start, start + block))
    (only,) = scanner.candidates()
    assert len(only.frames) == 48
    assert only.part == ""
    assert only.notes == ("48 images at 24 positions, and nothing tells them apart",)


def test_images_without_any_difference_stay_together_and_a_note_says_so(scanner):
    scanner.scan([0, 1, 2, 2, 3], InstanceNumber=1)
    (only,) = scanner.candidates()
    assert only.notes == ("5 images at 4 positions, and nothing tells them apart",)


@pytest.mark.parametrize("offset", [0.26, 0.25, 0.5])
def test_two_scans_that_are_shifted_against_each_other_are_not_interleaved(scanner, offset):
    scanner.scan(range(10), scanner.axes(15, 0), AcquisitionNumber=4)
    scanner.scan(np.arange(12) + offset - 1, scanner.axes(15, 0), AcquisitionNumber=5)
    assert scanner.parts() == {
        "AcquisitionNumber 4": scanner.numbers(1, 10),
        "AcquisitionNumber 5": scanner.numbers(11, 22),
    }
    assert scanner.candidates()[0].notes == (
        "22 images at 22 positions: told apart by AcquisitionNumber into 2 parts",
    )


def test_shifted_scans_without_numbers_are_cut_by_their_order(scanner):
    scanner.scan(range(10))
    scanner.scan(np.arange(10) + 0.26)
    assert list(scanner.parts()) == [
        "InstanceNumber 1 to 10",
        "InstanceNumber 11 to 20",
    ]


def test_slices_scanned_in_interleaved_order_are_one_volume(scanner):
    scanner.scan(range(0, 12, 2))
    scanner.scan(range(1, 12, 2))
    (only,) = scanner.candidates()
    assert len(only.frames) == 12


@pytest.mark.parametrize("missing", [[3], [6], [3, 8]])
def test_an_interleaved_order_that_lacks_slices_is_one_volume(scanner, missing):
    scanner.scan(k for k in range(0, 13, 2) if k not in missing)
    scanner.scan(k for k in range(1, 13, 2) if k not in missing)
    (only,) = scanner.candidates()
    assert len(only.frames) == 13 - len(missing)


def test_random_numbers_do_not_part_slices_around_a_gap(scanner):
    scanner.scan([0, 50, 52, 49, 51, 53])
    (only,) = scanner.candidates()
    assert len(only.frames) == 6


def test_shifted_scans_that_overlap_in_part_are_cut_by_their_order(scanner):
    scanner.scan(range(12))
    scanner.scan(np.arange(12) + 9.3)
    assert [len(numbers) for numbers in scanner.parts().values()] == [12, 12]


def test_a_third_shifted_scan_is_parted_from_the_phase_that_it_shares_an_agent_with(scanner):
    scanner.scan(range(10), AcquisitionNumber=1)
    scanner.scan(range(10), AcquisitionNumber=2, ContrastBolusAgent="X")
    scanner.scan(np.arange(10) + 0.3, AcquisitionNumber=3, ContrastBolusAgent="X")
    assert sorted(scanner.parts().values()) == [
        scanner.numbers(1, 10),
        scanner.numbers(11, 20),
        scanner.numbers(21, 30),
    ]


def test_missing_slices_leave_a_pass_whole(scanner):
    scanner.scan([0, 1, 2, 5, 6, 7, 8])
    scanner.scan([0, 1, 3, 4, 5, 8])
    assert list(scanner.parts().values()) == [scanner.numbers(1, 7), scanner.numbers(8, 13)]
