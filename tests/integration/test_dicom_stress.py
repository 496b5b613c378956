"""The DICOM input half on real files: three CT series, and series made to be refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from operators.errors import NothingSelectedError, PixelDataError, VolumeError
from operators.frames import frames_of
from operators.loading import Scan, scan
from operators.pixels import decode_hu
from operators.rules import default_rules
from operators.selection import Decision, is_ct_image, select_series
from operators.series import Instance
from operators.splitting import split_series
from operators.volumes import build_volume

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def scanned(folder: str) -> Scan:
    if not (DATA / folder).is_dir():
        pytest.skip(f"shared data is absent: {DATA / folder}")
    return scan(DATA / folder)


def instances_of(found: Scan) -> list[Instance]:
    return [i for study in found.studies for series in study.series for i in series.instances]


def rejected(folder: str) -> tuple[Decision, ...]:
    with pytest.raises(NothingSelectedError) as caught:
        select_series(scanned(folder).studies, default_rules())
    decisions: tuple[Decision, ...] = caught.value.decisions
    return decisions


def read_by_simpleitk(folder: Path) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


@pytest.mark.parametrize(
    ("folder", "depth"), [("c3l-00189", 35), ("ircad-01", 129), ("acrin-flt-breast-001", 99)]
)
def test_a_real_ct_series_is_read_as_simpleitk_reads_it(folder, depth):
    found = scanned(f"ct/{folder}")
    assert found.skipped == ()
    (chosen,) = select_series(found.studies, default_rules()).chosen
    built = build_volume(chosen.candidate)
    assert built.volume.hu.shape == (depth, 512, 512)
    hu, affine = read_by_simpleitk(DATA / "ct" / folder)
    np.testing.assert_array_equal(built.volume.hu, np.maximum(hu, -1024))
    np.testing.assert_allclose(built.volume.geometry.affine_lps, affine, atol=1e-3)
    for k, frame in enumerate(built.stack.frames):
        position = np.array(frame.header.ImagePositionPatient, float)
        apart = np.linalg.norm(built.volume.geometry.to_lps((k, 0, 0)) - position)
        assert apart < 0.01


def test_two_interleaved_phases_are_two_candidates_and_the_later_one_is_chosen():
    found = scanned("dicom_stress/two_phases_interleaved")
    result = select_series(found.studies, default_rules())
    assert [(d.part, d.chosen, d.slices) for d in result.decisions] == [
        ("AcquisitionNumber 1", False, 35),
        ("AcquisitionNumber 2", True, 35),
    ]
    assert "acquisition the last of its series against 1 before" in result.decisions[0].reason
    (chosen,) = result.chosen
    built = build_volume(chosen.candidate)
    assert built.volume.hu.shape == (35, 512, 512)
    assert built.stack.repairs == ()
    assert {int(f.header.AcquisitionNumber) for f in built.stack.frames} == {2}


def test_localizers_and_screens_are_rejected_each_with_its_reason():
    found = scanned("dicom_stress/localizers_and_screens")
    assert {f.reason.partition(":")[0] for f in found.skipped} == {
        "DICOMDIR",
        "listed in DICOMDIR but absent",  # its folders were flattened
    }
    reasons = sorted(d.reason for d in rejected("dicom_stress/localizers_and_screens"))
    assert reasons[0].startswith("ImageType is ORIGINAL\\PRIMARY\\LOCALIZER, the rules ask for")
    assert reasons[1:] == ["Secondary Capture Image Storage: not a CT image"] * 2


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("reformats_coronal", 'ImageOrientationPatient is Coronal, the rules ask for "Axial"'),
        ("reformats_sagittal", 'ImageOrientationPatient is Sagittal, the rules ask for "Axial"'),
        ("mr_coronal", "MR Image Storage: not a CT image"),
    ],
)
def test_reformats_and_mr_are_rejected(folder, reason):
    assert [d.reason for d in rejected(f"dicom_stress/{folder}")] == [reason]


def test_non_square_reformats_build_with_their_axes_in_place():
    for folder, normal in (("reformats_coronal", 1), ("reformats_sagittal", 0)):
        (series,) = scanned(f"dicom_stress/{folder}").studies[0].series
        (candidate,) = split_series(series, series.instances)
        built = build_volume(candidate)
        geometry = built.volume.geometry
        np.testing.assert_allclose(geometry.spacing_mm, (1.6797, 1.6796875, 1.3671875), atol=1e-4)
        assert np.abs(geometry.direction_lps[:, 2]).argmax() == normal


def test_the_truncated_series_is_short_but_whole():
    """Its files are complete: the series was cut to 18 slices, so it is a small volume."""
    found = scanned("dicom_stress/truncated_ct")
    assert found.skipped == ()
    (chosen,) = select_series(found.studies, default_rules()).chosen
    built = build_volume(chosen.candidate)
    assert built.volume.hu.shape == (18, 512, 512)
    assert built.volume.geometry.spacing_mm[0] == pytest.approx(2.5)


def test_the_head_scan_stands_upright_by_its_own_headers():
    """Its GantryDetectorTilt is 0 and its positions do not drift: nothing leans in it."""
    found = scanned("dicom_stress/tilted_head_ct")
    assert {f.path.name for f in found.skipped} == {"DIRFILE"}
    (chosen,) = select_series(found.studies, default_rules()).chosen
    assert {float(f.header.GantryDetectorTilt) for f in chosen.candidate.frames} == {0.0}
    built = build_volume(chosen.candidate)
    assert built.stack.repairs == ()
    np.testing.assert_allclose(built.volume.geometry.affine_lps[:3, 2], (0, 0, 5), atol=1e-9)


def test_pixel_data_that_no_decoder_accepts_is_refused_with_its_transfer_syntax():
    found = scanned("dicom_stress/undecodable_j2k")
    (chosen,) = select_series(found.studies, default_rules()).chosen
    for frame in chosen.candidate.frames:
        with pytest.raises(PixelDataError, match=r"JPEG 2000 .*4\.91\) cannot be decoded"):
            decode_hu(frame)
    with pytest.raises(VolumeError, match="expected one FrameOfReferenceUID, found 10"):
        build_volume(chosen.candidate)


def test_one_image_is_the_same_in_every_lossless_transfer_syntax():
    scanned("dicom_stress/transfer_syntaxes")
    folder = DATA / "dicom_stress" / "transfer_syntaxes"
    expected = decode_alone(folder / "CTImage.dcm")
    assert (expected.min(), expected.max()) == (-1024, 1378)
    for name in ("BigEndian", "Deflated", "JPEGLSLossless", "LittleEndianImplicit", "RLE"):
        (path,) = folder.glob(f"CTImage.dcm_{name}*")
        np.testing.assert_array_equal(decode_alone(path), expected)


def decode_alone(path: Path) -> NDArray[np.int16]:
    (instance,) = instances_of(scan(path))
    (frame,) = frames_of(instance)
    return decode_hu(frame)


def test_objects_that_are_no_ct_images_are_told_apart_by_sop_class():
    found = scanned("dicom_stress/seg_examples")
    result = select_series(found.studies, default_rules())
    chosen = {d.sop_classes for d in result.decisions if d.chosen}
    assert chosen <= {("CT Image Storage",), ("Legacy Converted Enhanced CT Image Storage",)}
    reasons = {d.sop_classes[0]: d.reason for d in result.decisions if not d.chosen}
    assert reasons["Segmentation Storage"] == "Segmentation Storage: not a CT image"


def test_scanning_everything_uses_or_lists_every_file():
    found = scanned("dicom_stress")
    files = {path for path in (DATA / "dicom_stress").rglob("*") if path.is_file()}
    used = {i.path for i in instances_of(found)}
    assert files <= used | {f.path for f in found.skipped}


def test_every_candidate_of_everything_becomes_a_volume_or_is_named_with_a_reason():
    """Nothing but our own errors comes out, whatever the file."""
    outcomes = Counter()
    for study in scanned("dicom_stress").studies:
        for series in study.series:
            images = tuple(i for i in series.instances if is_ct_image(i.header.SOPClassUID))
            for candidate in split_series(series, images) if images else ():
                try:
                    build_volume(candidate)
                except (VolumeError, PixelDataError) as exc:
                    outcomes["named" if str(exc) else "without a reason"] += 1
                else:
                    outcomes["volume"] += 1
    assert outcomes["volume"] >= 10
    assert set(outcomes) == {"volume", "named"}
