"""What functional groups state, under the keywords of a single-frame image.

Enhanced CT (PS3.3 A.38) and Legacy Converted Enhanced CT (A.70) keep in functional groups
(C.7.6.16) what a single-frame image states at its top level. Of each keyword, the value of the
frame's own groups counts, else that of the groups that all frames share, else the top level's.
What describes the object or its stored pixels is always the top level's.

| in functional groups | in a single-frame image |
|---|---|
| FrameType | ImageType |
| FrameAcquisitionNumber | AcquisitionNumber |
| TemporalPositionIndex | TemporalPositionIdentifier |
| FrameComments | ImageComments |
| FrameAcquisitionDateTime | AcquisitionDateTime, AcquisitionDate, AcquisitionTime |
| FrameReferenceDateTime | ContentDate, ContentTime |
| AnatomicRegionSequence | BodyPartExamined, where the top level has none |
| agents administered | ContrastBolusAgent, likewise |

All others keep their keyword. Real-world values and references to other images are left aside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydicom import DataElement, Dataset, config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from operators.dicom_file import REQUIRED_UIDS
from operators.elements import DAMAGED_DICOM_ERRORS, values_of
from operators.errors import VolumeError

_Elements = dict[BaseTag, DataElement | RawDataElement]


def _tags(*keywords: str) -> frozenset[BaseTag]:
    return frozenset(map(Tag, keywords))


#: No functional group changes these.
_OF_THE_OBJECT = _tags(
    *REQUIRED_UIDS,
    "FrameOfReferenceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
_NOT_OF_A_FRAME = _tags(
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_ASIDE = _tags(
    "ConversionSourceAttributesSequence",
    "DerivationImageSequence",
    "RealWorldValueMappingSequence",
    "ReferencedImageSequence",
)
#: Groups that place a frame and its values: of several items nobody could say which one counts.
_OF_ONE_ITEM = _tags(
    "FrameContentSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
)
#: What a converter had no group for; where there is one, that counts.
_UNASSIGNED = _tags(
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
_RENAMED = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionDateTime",
    "FrameComments": "ImageComments",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}
_DATED = {
    "FrameAcquisitionDateTime": ("AcquisitionDate", "AcquisitionTime"),
    "FrameReferenceDateTime": ("ContentDate", "ContentTime"),
}
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)")  # YYYYMMDDHHMMSS.FFFFFF, PS3.5 6.2
_BODY_PART = Tag("BodyPartExamined")
#: pydicom reads the items of a sequence from memory as it would from a file.
_DAMAGE = (*DAMAGED_DICOM_ERRORS, OSError)


def single_frame_headers(header: Dataset, name: str) -> Iterator[Dataset]:
    """The header of each frame of a multi-frame CT image.

    Parameters
    ----------
    header
        The data set of the image.
    name
        What errors call it.

    Yields
    ------
    pydicom.Dataset
        In order of the frames. They share elements: they are to be read, not changed.

    Raises
    ------
    VolumeError
        If functional groups cannot be read or contradict themselves.
    """
    shared = items_of(header, "SharedFunctionalGroupsSequence", name)
    if len(shared) > 1:
        raise VolumeError(f"{name}: expected one item of shared groups, found {len(shared)}")
    groups = _Groups()
    top = _top_level(header)
    for_all = groups.flattened(shared[0], name) if shared else {}
    agents = _agents(header, name)
    per_frame = items_of(header, "PerFrameFunctionalGroupsSequence", name)
    for number, item in enumerate(per_frame, start=1):
        frame = f"{name} frame {number}"
        stated = {**for_all, **groups.flattened(item, frame)}
        if _BODY_PART in top:
            stated.pop(_BODY_PART, None)
        if agents and "ContrastBolusAgent" not in header:
            _put(stated, "ContrastBolusAgent", _administered(agents, (item, *shared), frame))
        found = Dataset({**top, **stated})
        found.file_meta = header.file_meta
        yield found


def items_of(dataset: Dataset, element: str | BaseTag, name: str) -> tuple[Dataset, ...]:
    """The items of a sequence; none where it is absent, empty or no sequence.

    Raises
    ------
    VolumeError
        If it cannot be read.
    """
    try:
        if element not in dataset or dataset[element].VR != "SQ":
            return ()
        return tuple(dataset[element].value or ())
    except _DAMAGE as exc:  # sequences are parsed on first use
        raise VolumeError(f"{name}: expected a sequence, found {element} damaged") from exc


def _top_level(header: Dataset) -> _Elements:
    found: _Elements = {}
    for tag in header.keys() - _NOT_OF_A_FRAME:
        try:
            found[tag] = header[tag]  # parsed once for all frames
        except _DAMAGE:
            found[tag] = _raw(header, tag)
    return found


class _Groups:
    """Flattens functional groups; those of equal bytes, as most frames repeat them, once."""

    def __init__(self) -> None:
        self._known: dict[tuple[BaseTag, bytes], _Elements] = {}

    def flattened(self, item: Dataset, name: str) -> _Elements:
        """The elements of all groups in an item."""
        found: _Elements = {}
        tags = item.keys() - _ASIDE
        for tag in (*sorted(tags & _UNASSIGNED), *sorted(tags - _UNASSIGNED)):
            raw = _raw(item, tag)
            if not isinstance(raw, RawDataElement) or not isinstance(raw.value, bytes):
                found.update(_group(item, tag, name))
                continue
            if (tag, raw.value) not in self._known:
                self._known[tag, raw.value] = _group(item, tag, name)
            found.update(self._known[tag, raw.value])
        return found


def _group(item: Dataset, tag: BaseTag, name: str) -> _Elements:
    """The elements of one group, also under the keywords of a single-frame image."""
    groups = items_of(item, tag, name)
    if len(groups) > 1 and tag in _OF_ONE_ITEM:
        raise VolumeError(f"{name}: expected one item in {tag}, found {len(groups)}")
    if not groups:
        return {}
    group = groups[0]
    found = {inner: _raw(group, inner) for inner in group.keys() - _OF_THE_OBJECT}
    for keyword, single in _RENAMED.items():
        _put(found, single, values_of(group, keyword))
    for keyword, (date, time) in _DATED.items():
        for value in values_of(group, keyword):
            if parts := _DATE_TIME.match(str(value)):
                _put(found, date, (parts[1],))
                _put(found, time, (parts[2],))
    for region in items_of(group, "AnatomicRegionSequence", name):
        _put(found, "BodyPartExamined", _body_part(region))
    return found


def _body_part(region: Dataset) -> tuple[str, ...]:
    """The term for an anatomic region, which is most often its meaning (PS3.16 Annex L)."""
    meaning = "".join(map(str, values_of(region, "CodeMeaning"))).upper().replace(" AND ", "")
    term = re.sub("[^A-Z]", "", meaning)[:16]
    return (term,) if term else ()


def _raw(dataset: Dataset, tag: BaseTag) -> DataElement | RawDataElement:
    element: DataElement | RawDataElement = dataset.get_item(tag, keep_deferred=True)
    return element


def _put(elements: _Elements, keyword: str, values: Sequence[object]) -> None:
    """Add an element; nothing where there are no values."""
    if values:
        value = values[0] if len(values) == 1 else list(values)
        tag, vr = Tag(keyword), dictionary_VR(keyword)
        elements[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


def _agents(header: Dataset, name: str) -> dict[object, str]:
    """What each ContrastBolusAgentNumber stands for (PS3.3 C.7.6.4b)."""
    found = {}
    for item in items_of(header, "ContrastBolusAgentSequence", name):
        number = next(iter(values_of(item, "ContrastBolusAgentNumber")), None)
        meaning = values_of(item, "CodeMeaning") or values_of(item, "CodeValue") or ("unnamed",)
        found[number] = str(meaning[0])
    return found


def _administered(
    agents: dict[object, str], groups: Sequence[Dataset], name: str
) -> tuple[str, ...]:
    """The agents in a frame, as one text; by the first groups that tell, else all there are."""
    for group in groups:
        if usages := items_of(group, "ContrastBolusUsageSequence", name):
            given = [
                number
                for usage in usages
                for number in values_of(usage, "ContrastBolusAgentNumber")
                if values_of(usage, "ContrastBolusAgentAdministered") == ("YES",)
            ]
            break
    else:
        given = list(agents)
    names = [agents[number] for number in given if number in agents]
    return (" + ".join(names),) if names else ()
