"""A case is made again from its number, whatever was made before it."""

import pytest

from .targets import TARGETS


@pytest.mark.parametrize("name", ["coco", "label-maps", "images", "downloads"])
def test_cases_do_not_depend_on_others(name, tmp_path):
    target = TARGETS[name](tmp_path)
    cases = [f"{name}/0/{i}" for i in range(100)]
    made = [target.make(case) for case in cases]
    assert [target.make(case) for case in reversed(cases)] == made[::-1]
    assert len({data for data, _ in made}) > 60
