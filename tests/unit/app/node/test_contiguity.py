from __future__ import annotations

import random
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, SecondaryCaptureImageStorage

from app.node.contiguity import KEYWORDS, Contiguity, contiguity, stated_counts

#: An oblique plane: rows and columns are turned about all three axes.
ROW = np.array([0.96, 0.0, 0.28])
COLUMN = np.array([0.2 * 0.28, 0.9797958971, -0.2 * 0.96])
NORMAL = np.cross(ROW, COLUMN)


def header(
    height_mm: float,
    uid: str = "1.2",
    row: np.ndarray = ROW,
    column: np.ndarray = COLUMN,
    **elements: object,
) -> Dataset:
    found = Dataset()
    found.SOPClassUID = CTImageStorage
    found.SeriesInstanceUID = uid
    found.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    found.ImageOrientationPatient = [round(float(c), 6) for c in (*row, *column)]
    place = np.array([-200.0, -150.0, 30.0]) + height_mm * np.cross(row, column)
    found.ImagePositionPatient = [round(float(c), 4) for c in place]
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def shuffled(headers: list[Dataset]) -> list[Dataset]:
    return random.Random(3).sample(headers, len(headers))


def found_in(headers: list[Dataset]) -> Contiguity:
    found = contiguity(shuffled(headers))
    assert found is not None
    return found


def test_an_oblique_stack_without_gap_is_whole_in_any_order() -> None:
    found = found_in([header(2.5 * k) for k in range(40)])
    assert (found.slices, found.missing) == (40, 0)
    assert found.step_mm == pytest.approx(2.5, abs=1e-3)
    assert found.told == "40 slices every 2.50 mm have no gap"


def test_missing_slices_are_counted_in_every_gap() -> None:
    found = found_in([header(2.5 * k) for k in range(40) if k not in (7, 20, 21, 22)])
    assert (found.slices, found.missing) == (36, 4)
    assert found.widest_mm == pytest.approx(10.0, abs=1e-3)
    assert found.told == ("4 slices are missing among 36 every 2.50 mm, the widest gap is 10.00 mm")


def test_phases_at_the_same_positions_are_no_gaps() -> None:
    found = found_in([header(2.5 * k) for k in range(20)] * 2)
    assert (found.slices, found.missing) == (20, 0)


def test_slightly_uneven_distances_are_no_gaps() -> None:
    steps = random.Random(5)
    heights = np.cumsum([steps.uniform(2.2, 2.8) for _ in range(30)])
    assert found_in([header(float(height)) for height in heights]).missing == 0


def test_direction_cosines_that_differ_by_rounding_are_one_stack() -> None:
    turned = [ROW + [0.0004 * (k % 2), 0, 0] for k in range(30)]  # 0.96 and 0.9604
    found = found_in([header(3.0 * k, row=row) for k, row in enumerate(turned)])
    assert found.slices == 30


def test_the_series_with_the_most_slices_is_the_likely_one() -> None:
    headers = [header(1.0 * k, uid="1.9") for k in range(10)]
    headers += [header(5.0 * k, uid="1.3") for k in range(25) if k != 9]
    assert found_in(headers).SeriesInstanceUID == "1.3"
    assert found_in(headers).missing == 1


def test_localizers_and_other_planes_of_the_series_are_no_slices() -> None:
    headers = [header(2.0 * k) for k in range(20)]
    headers += [header(500.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])]
    headers += [header(70.0 * k, row=COLUMN, column=NORMAL) for k in range(3)]
    assert found_in(headers) == found_in(headers[:20])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [header(0.0, SOPClassUID=SecondaryCaptureImageStorage)],
        [header(0.0, SOPClassUID=EnhancedCTImageStorage)],
        [header(0.0, ImagePositionPatient=None)],
        [header(0.0, ImageOrientationPatient=[1, 0, 0])],
        [header(0.0, SeriesInstanceUID="")],
    ],
)
def test_without_placed_ct_slices_nothing_is_known(headers: list[Dataset]) -> None:
    assert contiguity(headers) is None


def test_one_slice_has_no_gap() -> None:
    assert found_in([header(0.0)]).told == "1 slice is there"


def test_stated_numbers_are_taken_from_headers_and_find_responses() -> None:
    study = Dataset()
    study.NumberOfStudyRelatedInstances = 140
    study.NumberOfStudyRelatedSeries = "3"
    headers = [
        study,
        header(0.0, NumberOfSeriesRelatedInstances=118),
        header(2.0, NumberOfSeriesRelatedInstances=120, NumberOfStudyRelatedInstances=139),
        header(0.0, uid="1.3"),
        header(0.0, uid="1.4", NumberOfSeriesRelatedInstances=None),
    ]
    stated = stated_counts(headers)
    assert stated.stated_instances == 140
    assert stated.stated_series == 3
    assert stated.stated_by_series == {"1.2": 120}


def test_headers_that_state_nothing_give_no_counts() -> None:
    stated = stated_counts([header(0.0)])
    assert (stated.stated_instances, stated.stated_series) == (None, None)
    assert stated.stated_by_series == {}


def test_the_keywords_are_all_that_is_needed_of_a_file() -> None:
    headers: list[Dataset] = []
    for k in range(20):
        stream = BytesIO()
        written = header(2.0 * k, PatientName="Doe^Jane")
        dcmwrite(stream, written, implicit_vr=False, little_endian=True)
        stream.seek(0)
        read = dcmread(stream, force=True, specific_tags=list(KEYWORDS))
        assert "PatientName" not in read
        headers.append(read)
    assert found_in(headers).slices == 20
