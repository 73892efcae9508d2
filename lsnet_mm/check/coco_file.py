"""A COCO annotation file, read as it is: what is sound of it, and the problems of the rest.

mmdet's own reader passes over, without a word, what it does not like.
"""

import filecmp
import gc
import json
import math
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from lsnet_mm.check.files import Problem
from lsnet_mm.check.statistics import listed

SECTIONS = ("images", "annotations", "categories")
TOLERANCE = 1  # pixels that a box may reach over the image's border
MIN_POLYGON = 6  # coordinates
FARTHEST = 2**31  # pixels that a box may reach: whole numbers of JSON may overflow mmdet's tensors
REACH = 2  # image sides that a polygon may reach: what is farther would take decoders for ever

# Objects without extent are dropped on loading. A few slips in many are no reason to stop: COCO's
# own train2017 has two in 860001 annotations.
NO_EXTENT = "objects without extent, dropped on loading"
RARE = 1e-4

# What mmdet drops, or clips to the image, when it reads a file: the rest can be trained on.
LEFT_OUT = (
    NO_EXTENT,
    "boxes of negative size",
    "boxes outside the image",
    "annotations of unknown categories",
    "annotations of unknown images",
    "polygons that enclose nothing",
    "classes without images",
)

Found = tuple[str, str]  # the kind of a problem, and the problem


@dataclass
class CocoFile:
    """The sound part of an annotation file, and the problems of the rest.

    Attributes:
        names: File names of the images.
        sizes: Width and height of the images in pixels.
        annotations: Sound annotations of the config's classes, as the file has them.
        owners: Index of the image of each annotation, int64 (annotations,).
        labels: Class of each annotation, int64 (annotations,).
        problems: In the order of the file's parts.
    """

    names: list[str]
    sizes: list[tuple[int, int]]
    annotations: list[dict]
    owners: np.ndarray
    labels: np.ndarray
    problems: list[Problem]


@dataclass
class References:
    """What annotations refer to.

    Attributes:
        names: File names of images by id.
        sizes: Width and height of images by id.
        categories: Names of categories by id.
    """

    names: dict[Any, str]
    sizes: dict[Any, tuple[int, int]]
    categories: dict[Any, str]


def read_annotations(path: str, classes: Sequence[str], masks: bool) -> CocoFile:
    """Read an annotation file and check all of it.

    Args:
        path: The file.
        classes: The config's class names.
        masks: Whether every object must have a mask.
    """
    content, problems = read_json(path)
    if problems:
        return CocoFile([], [], [], np.empty(0, np.int64), np.empty(0, np.int64), problems)
    images = [entry for entry in content["images"] if _is_image(entry)]
    if len(images) < len(content["images"]):
        what = f"{len(content['images']) - len(images)} lack id, file_name, width or height"
        problems.append(Problem("incomplete image entries", path, what))
    categories = [entry for entry in content["categories"] if _is_category(entry)]
    if len(categories) < len(content["categories"]):
        what = f"{len(content['categories']) - len(categories)} lack id or name"
        problems.append(Problem("incomplete category entries", path, what))
    entries = content["annotations"]
    for section, found in zip(SECTIONS, (images, entries, categories), strict=True):
        problems.extend(_shared_ids(path, section, found))
    problems.extend(_label_problems(path, categories, classes))
    known = References(
        names={entry["id"]: entry["file_name"] for entry in images},
        sizes={entry["id"]: _size(entry) for entry in images},
        categories={entry["id"]: entry["name"] for entry in categories},
    )
    sound = _take_sound(path, entries, known, masks, problems)
    annotations = _take_classes(path, sound, known, classes, problems)
    order = {entry["id"]: index for index, entry in enumerate(images)}
    label_of = {name: label for label, name in enumerate(classes)}
    labels = [label_of[known.categories[entry["category_id"]]] for entry in annotations]
    return CocoFile(
        names=[entry["file_name"] for entry in images],
        sizes=[_size(entry) for entry in images],
        annotations=annotations,
        owners=np.array([order[entry["image_id"]] for entry in annotations], np.int64),
        labels=np.array(labels, np.int64),
        problems=problems,
    )


def _take_sound(
    path: str, entries: Sequence[Any], known: References, masks: bool, problems: list[Problem]
) -> list[dict]:
    """Return the sound annotations, and add to ``problems`` what is wrong with the others."""
    sound, no_extent = [], []
    for entry in entries:
        found = _annotation_problem(entry, known, masks)
        if not found:
            sound.append(entry)
            continue
        kind, what = found
        problem = Problem(kind, path, f"{_name(entry, known)}: {what}")
        (no_extent if kind == NO_EXTENT else problems).append(problem)
    rare = len(no_extent) <= RARE * len(entries)
    problems.extend(problem._replace(warning=rare) for problem in no_extent)
    return sound


def _take_classes(
    path: str,
    entries: Sequence[dict],
    known: References,
    classes: Sequence[str],
    problems: list[Problem],
) -> list[dict]:
    """Return the annotations of the classes, and add to ``problems`` which others there are."""
    kind, wanted = "categories that are no class of the config", set(classes)
    names = Counter(known.categories[entry["category_id"]] for entry in entries)
    for name in sorted(set(names) - wanted):
        problems.append(Problem(kind, path, f"{name}: {names[name]} objects", warning=True))
    return [entry for entry in entries if known.categories[entry["category_id"]] in wanted]


def check_evaluator(ann_file: str, loader: str, loader_files: Sequence[str]) -> list[Problem]:
    """Return what is wrong with an evaluator's annotation file.

    Args:
        ann_file: The evaluator's file.
        loader: Name of the loader whose data is evaluated.
        loader_files: Annotation files of the loader's data sets.
    """
    if not osp.isfile(ann_file):
        what = f"does not exist; the evaluator of {loader} reads it"
        return [Problem("files that are missing", ann_file, what)]
    differences = [_difference(ann_file, path) for path in loader_files]
    if not all(differences):
        return []
    what = f"{loader} reads {loader_files[0]}, which has other {differences[0]}"
    return [Problem("evaluators that read other data than the loader", ann_file, what)]


def _difference(first: str, second: str) -> str:
    """Return in which sections two annotation files differ, an empty string if in none."""
    if filecmp.cmp(first, second, shallow=False):
        return ""
    contents = [read_json(path)[0] for path in (first, second)]
    return " and ".join(key for key in SECTIONS if contents[0][key] != contents[1][key])


def read_json(path: str) -> tuple[dict[str, list], list[Problem]]:
    """Return a file's sections, empty ones where it cannot be read, and why."""
    content, what = {}, ""
    collecting = gc.isenabled()
    gc.disable()  # it would look through millions of new objects, and double the time
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except ValueError as error:
        what = f"is not JSON: {error}"
    except RecursionError:
        what = "is not JSON of COCO's: lists within lists without end"
    finally:
        if collecting:
            gc.enable()
    found = content if isinstance(content, dict) else {}
    missing = [key for key in SECTIONS if not isinstance(found.get(key), list)]
    if not missing:
        return found, []
    problem = Problem(
        "annotation files that cannot be read", path, what or f"has no list of {listed(missing)}"
    )
    return {section: [] for section in SECTIONS}, [problem]


# Entries of the sections. What is checked is what is read of them.


def _has(entry: Any, keys: Sequence[str]) -> bool:
    return isinstance(entry, dict) and all(entry.get(key) is not None for key in keys)


def _are_numbers(values: Sequence[Any]) -> bool:
    """Tell whether all values are finite numbers: if one is not, their sum is not."""
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _is_id(value: Any) -> bool:
    return isinstance(value, int | float | str)


def _is_image(entry: Any) -> bool:
    return (
        _has(entry, ("id", "file_name", "width", "height"))
        and _is_id(entry["id"])
        and isinstance(entry["file_name"], str)
        and _are_numbers([entry["width"], entry["height"]])
        and min(_size(entry)) > 0
    )


def _size(image: dict) -> tuple[int, int]:
    """Width and height of an image entry in pixels: some programs write 640.0."""
    return int(image["width"]), int(image["height"])


def _is_category(entry: Any) -> bool:
    return _has(entry, ("id", "name")) and _is_id(entry["id"]) and isinstance(entry["name"], str)


def _shared_ids(path: str, section: str, entries: Sequence[Any]) -> Iterator[Problem]:
    given = (entry.get("id") for entry in entries if isinstance(entry, dict))
    ids = Counter(value for value in given if _is_id(value))
    for value, count in ids.items():
        if count > 1:
            yield Problem(f"{section} that share an id", path, f"id {value}: {count} of them")


def _label_problems(
    path: str, categories: Sequence[dict], classes: Sequence[str]
) -> Iterator[Problem]:
    """Yield what gives objects wrong labels: mmdet numbers categories in the file's order."""
    names = [entry["name"] for entry in categories if entry["name"] in classes]
    missing = [name for name in classes if name not in names]
    order = [pair for pair in zip_longest(names, classes) if pair[0] != pair[1]]
    if missing:
        what = f"{listed(missing)}: labels would be wrong"
        yield Problem("classes that are no category of the file", path, what)
    elif order:
        what = "{} stands where the config has {}: labels would be wrong".format(*order[0])
        yield Problem("categories in another order than the classes", path, what)


def _name(entry: Any, known: References) -> str:
    if not isinstance(entry, dict):
        return "an annotation"
    image = known.names.get(entry["image_id"]) if _is_id(entry.get("image_id")) else None
    return f"annotation {entry.get('id')}" + (f" of {image}" if image else "")


def _annotation_problem(entry: Any, known: References, masks: bool) -> Found | None:
    """Return the first thing wrong with an annotation."""
    if not _has(entry, ("id", "image_id", "category_id", "bbox", "area")):
        return "incomplete annotations", "lacks id, image_id, category_id, bbox or area"
    if not all(_is_id(entry[key]) for key in ("id", "image_id", "category_id")):
        return "ids that are neither numbers nor names", "id, image_id or category_id"
    if entry["image_id"] not in known.sizes:
        return "annotations of unknown images", f"image {entry['image_id']}"
    box, area = entry["bbox"], entry["area"]
    # mmdet computes with boxes before it drops unknown categories.
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers([*box, area])):
        return "boxes that are not four finite numbers", f"box {box}, area {area}"
    if entry["category_id"] not in known.categories:
        return "annotations of unknown categories", f"category {entry['category_id']}"
    width, height = known.sizes[entry["image_id"]]
    mask = entry.get("segmentation")
    return (
        _undecodable(mask, width, height)
        or _box_problem(box, area, width, height)
        or _mask_problem(mask, masks)
    )


def _box_problem(box: Sequence[float], area: float, width: int, height: int) -> Found | None:
    x, y, w, h = box
    if w < 0 or h < 0:
        return "boxes of negative size", f"box {box}"
    if w == 0 or h == 0 or area <= 0:
        return NO_EXTENT, f"box {box}, area {area}"
    if max(map(abs, box)) > FARTHEST:
        return "boxes far outside the image", f"box {box}"
    if min(x, y) < -TOLERANCE or x + w > width + TOLERANCE or y + h > height + TOLERANCE:
        return "boxes outside the image", f"box {box}, image {width}x{height}"
    return None


def _undecodable(segmentation: Any, width: int, height: int) -> Found | None:
    """Return what a mask has that decoders, which trust it, crash on."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _rle_problem(segmentation, width, height)
    if not isinstance(segmentation, list) or any(not isinstance(p, list) for p in segmentation):
        return "masks that are no lists of polygons", f"segmentation {str(segmentation)[:40]}"
    for polygon in segmentation:
        if not _are_numbers(polygon):
            return "polygons that are not finite numbers", f"polygon {listed(polygon, 8)}"
        if polygon and max(map(abs, polygon)) > REACH * max(width, height):
            return "polygons far outside the image", f"polygon {listed(polygon, 8)}"
    return None


def _mask_problem(segmentation: Any, needed: bool) -> Found | None:
    if not segmentation:
        return ("objects without a mask", "has no segmentation") if needed else None
    for polygon in segmentation if isinstance(segmentation, list) else ():
        if len(polygon) < MIN_POLYGON or len(polygon) % 2:
            return "polygons that enclose nothing", f"a polygon has {len(polygon)} coordinates"
    return None


def _rle_problem(rle: dict, width: int, height: int) -> Found | None:
    """Return what is wrong with an RLE."""
    counts, size = rle.get("counts"), rle.get("size")
    if size != [height, width]:
        what = f"height and width {size}, of the image {[height, width]}"
        return "masks of another size than the image", what
    runs = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not _are_numbers(runs) or any(run < 0 for run in runs):
        return "masks without runs", f"counts {str(counts)[:40]}"
    what = f"runs of {sum(runs)} pixels, image of {width * height}"
    wrong = sum(runs) != width * height
    return ("masks of another size than the image", what) if wrong else None


def _unpacked(counts: str) -> list[int] | None:
    """Return the runs of a compressed RLE, as pycocotools packs them; None if it is damaged.

    A run is a signed number, in digits of five bits, the lowest first, each in a character from
    "0" on whose sixth bit tells that more follow. From the fourth run on it is the difference to
    the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for bits in (ord(character) - ord("0") for character in counts):
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits < 32:
            value -= (bits & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs
