"""What label values mean in the public data sets, as their authors number them.

BTCV: Landman et al., syn3193805, Multi-Atlas Labeling Beyond the Cranial Vault. FLARE22: Ma et
al., MICCAI FLARE 2022. RSNA: Rudie et al., RSNA Abdominal Traumatic Injury CT (RATIC), 2023.
The Decathlon (MSD) states its values in each task's `dataset.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

BTCV: Mapping[str, int] = MappingProxyType(
    {
        "spleen": 1,
        "kidney_right": 2,
        "kidney_left": 3,
        "gallbladder": 4,
        "oesophagus": 5,
        "liver": 6,
        "stomach": 7,
        "aorta": 8,
        "inferior_vena_cava": 9,
        "portal_and_splenic_veins": 10,
        "pancreas": 11,
        "adrenal_right": 12,
        "adrenal_left": 13,
    }
)
FLARE22: Mapping[str, int] = MappingProxyType(
    {
        "liver": 1,
        "kidney_right": 2,
        "spleen": 3,
        "pancreas": 4,
        "aorta": 5,
        "inferior_vena_cava": 6,
        "adrenal_right": 7,
        "adrenal_left": 8,
        "gallbladder": 9,
        "oesophagus": 10,
        "stomach": 11,
        "duodenum": 12,
        "kidney_left": 13,
    }
)
RSNA: Mapping[str, int] = MappingProxyType(
    {"liver": 1, "spleen": 2, "kidney_left": 3, "kidney_right": 4, "bowel": 5}
)

#: By layout; layouts that are not here state their values themselves, or not at all.
LABEL_VALUES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {"btcv": BTCV, "flare22": FLARE22, "rsna": RSNA}
)

#: Organs of which the first lies to the patient's right of the second.
RIGHT_OF: tuple[tuple[str, str], ...] = (
    ("liver", "spleen"),
    ("kidney_right", "kidney_left"),
    ("adrenal_right", "adrenal_left"),
)
