from __future__ import annotations

import numpy as np
import pytest

from models.anatomy import examine
from models.geometry import Volume, VolumeGeometry
from operators.anatomy import require_region
from operators.errors import AnatomyError


def test_a_model_of_the_abdomen_refuses_what_shows_none_and_says_what_it_found():
    geometry = VolumeGeometry.from_spacing((20, 64, 64), (5.0, 6.0, 6.0))
    nothing = examine(Volume(hu=np.full(geometry.shape, -1000, np.int16), geometry=geometry))
    with pytest.raises(AnatomyError, match=r"not this anatomy: .*an abdomen in 0 of 100 mm"):
        require_region(nothing, "abdomen")
    require_region(nothing, "")  # a model for any part of the body
