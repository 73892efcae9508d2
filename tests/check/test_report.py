"""What is said and drawn: problems, statistics, thumbnails."""

import numpy as np
from PIL import Image

from lsnet_mm.check.files import Problem
from lsnet_mm.check.grid import (
    CELL,
    LINE,
    MARGIN,
    Thumbnail,
    colours,
    draw_grid,
    frame,
    paint,
    pick,
)
from lsnet_mm.check.report import full_list, problem_lines
from lsnet_mm.check.statistics import class_table, image_lines, object_sizes


def test_report_groups_problems_and_cuts_long_lists():
    problems = [Problem("bad", f"{i}.jpg", "broken") for i in range(25)]
    problems.insert(3, Problem("odd", "a.jpg", "strange", warning=True))
    lines = problem_lines(problems)
    assert lines[:2] == ["error: bad (25)", "  0.jpg: broken"]
    assert lines[20:] == [
        "  19.jpg: broken",
        "  and 5 more",
        "warning: odd (1)",
        "  a.jpg: strange",
    ]
    assert len(full_list(problems).splitlines()) == 26


def test_statistics_lines():
    sizes = np.array([[100, 50], [200, 200], [0, 0], [50, 100]])
    assert image_lines(sizes, 9) == [
        "9 images, 4 of them looked at: width 50 to 200 (median 100), height 50 to 200 "
        "(median 100), aspect ratio 0.5 to 2 (median 1)"
    ]
    areas = np.array([1023.0, 1024.0, 9215.0, 9216.0])
    assert object_sizes(areas) == (
        "object sizes: small (under 32x32) 25.0 %, medium 50.0 %, large (from 96x96) 25.0 %"
    )


def test_class_table_of_many_classes():
    values = np.arange(100)
    table = class_table([f"c{i}" for i in values], {"objects": values})
    assert [row.split() for row in table[:3]] == [
        ["class", "objects"],
        ["c99", "99"],
        ["c98", "98"],
    ]
    assert table[11] == "... 79 classes between"
    assert table[-2].split() == ["c1", "1"]
    assert table[-1] == "classes without any: 1 (c0)"
    assert len(table) == 1 + 10 + 1 + 10 + 1


def test_pick_spreads_evenly():
    assert pick(100, 5).tolist() == [0, 25, 50, 74, 99]
    assert pick(3, 5).tolist() == [0, 1, 2]
    assert pick(0, 5).tolist() == []


def test_thumbnails_and_legend():
    thumbnail = Image.new("RGB", (240, 180), (100, 100, 100))
    mask = np.zeros((90, 120), bool)
    mask[:, 60:] = True
    paint(thumbnail, mask, (200, 0, 0))
    assert thumbnail.getpixel((20, 170)) == (100, 100, 100)
    assert np.abs(np.subtract(thumbnail.getpixel((220, 170)), (150, 50, 50))).max() <= 1
    frame(thumbnail, (30, 40, 130, 140), "x", (0, 250, 0))
    assert thumbnail.getpixel((30, 100)) == thumbnail.getpixel((129, 139)) == (0, 250, 0)
    assert thumbnail.getpixel((80, 100)) == (100, 100, 100)
    grid = draw_grid(
        [Thumbnail(thumbnail, "a", frozenset({2}))] * 6, "abc", [(9, 9, i) for i in (1, 2, 3)]
    )
    assert grid.getpixel((MARGIN + 30, MARGIN + 100)) == (0, 250, 0)
    below = MARGIN + CELL[1] + LINE + MARGIN
    assert grid.getpixel((MARGIN + 30, below + 100)) == (0, 250, 0)
    assert grid.getpixel((MARGIN + CELL[0] + MARGIN + 30, below + 100)) == (255, 255, 255)


def test_long_captions_are_cut_to_their_cell():
    plain = Image.new("RGB", (240, 180), (100, 100, 100))
    thumbnails = [Thumbnail(plain, caption, frozenset()) for caption in ("n" * 500, "")]
    pixels = np.asarray(draw_grid(thumbnails, "abc", [(9, 9, i) for i in (1, 2, 3)]))
    below = pixels[MARGIN + CELL[1] + 1 : MARGIN + CELL[1] + LINE - 1]
    assert (below[:, MARGIN : MARGIN + CELL[0]] < 100).any()
    assert (below[:, MARGIN + CELL[0] :] == 255).all()


def test_colours_are_the_palette_or_distinct():
    assert colours([[1, 2, 3], (4, 5, 6)], 2) == [(1, 2, 3), (4, 5, 6)]
    assert len(set(colours("random", 150))) > 140
