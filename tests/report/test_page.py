"""The pages as a browser shows them, on a phone and a desktop, light and dark."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment
from mmengine.config import Config
from PIL import Image

from lsnet_mm.report import report
from lsnet_mm.report.curves import History
from lsnet_mm.report.page import render, top_confusions
from lsnet_mm.report.plots import Line, plot
from lsnet_mm.report.published import CURVES
from lsnet_mm.report.results import Case, Results
from lsnet_mm.report.run import Report
from lsnet_mm.report.verdict import Comparison, Verdict
from tests.report.browser import picture, show
from tests.report.conftest import NASTY, NASTY_FILE, report_arguments, run_of

TASKS = ("detection", "segmentation", "classification")
SIZE_LIMIT = 3_000_000  # bytes of a page

# What the browser made of the page.
FACTS = """
const rgb = name => getComputedStyle(document.body)[name];
return {
  scripts: document.scripts.length,
  pictures: [...document.images].map(i => i.complete && i.naturalWidth),
  lines: [...document.querySelectorAll("figure svg")].map(s => s.querySelectorAll("path").length),
  ink: [...new Set(
    [...document.querySelectorAll("figure svg text")].map(t => getComputedStyle(t).fill)
  )],
  overflow: document.documentElement.scrollWidth - innerWidth,
  headings: [...document.querySelectorAll("h2")].map(h => h.innerText),
  classes: [...document.querySelectorAll(".classes tbody th")].map(t => t.innerText.trim()),
  text: document.body.innerText, color: rgb("color"), background: rgb("backgroundColor"),
};
"""
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(19, 22, 27)"


@pytest.fixture(scope="module")
def pages(request, tmp_path_factory) -> dict[str, Path]:
    """Reports of the three tasks, with predictions of the runs' own checkpoints."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        task: report(
            report_arguments(
                request.getfixturevalue(f"{task}_run"), out=str(folder / f"{task}.html")
            )
        )
        for task in TASKS
    }


def look(browser, page: Path, width: int, dark: bool = False) -> dict:
    """What the browser shows; that it logs nothing and asks for no other address is checked."""
    show(browser, page, width, dark)
    facts = browser.execute_script(FACTS)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    urls = {r["request"]["url"] for r in requests if r["documentURL"] == page.as_uri()}
    assert {url for url in urls if not url.startswith("data:image/")} == {page.as_uri()}
    return facts


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("task", TASKS)
def test_page_shows_all_parts(task, width, dark, pages, browser):
    facts = look(browser, pages[task], width, dark)
    assert facts["headings"] == [
        *("Curves", "Classes, the worst first", "Confusion", "Worst cases first"),
        "Run, environment, config",
    ]
    assert facts["scripts"] == 0
    assert len(facts["pictures"]) == (6 if task == "classification" else 12)
    assert min(facts["pictures"]) > 100
    assert len(facts["lines"]) >= 3
    assert min(facts["lines"]) > 4
    assert facts["overflow"] <= 0
    assert facts["background"] == (DARK if dark else LIGHT)
    assert facts["ink"] == [facts["color"]]
    assert "no published curve" in facts["text"]
    assert pages[task].stat().st_size < SIZE_LIMIT


@pytest.mark.parametrize("dark", [False, True])
def test_screen_is_not_blank(dark, pages, browser):
    show(browser, pages["detection"], 390, dark)
    shown = Image.open(BytesIO(base64.b64decode(picture(browser)))).convert("L")
    values = np.asarray(shown)
    assert shown.width == 390
    assert (np.median(values[:100]) < 50) == dark
    assert values.std() > 20


def test_names_are_text_and_not_markup(pages, browser):
    facts = look(browser, pages["detection"], 1280)
    assert NASTY in facts["classes"]
    assert NASTY_FILE in facts["text"]
    assert NASTY not in pages["detection"].read_text()
    assert NASTY_FILE not in pages["detection"].read_text()
    config = browser.execute_script(
        "return [...document.querySelectorAll('pre')].at(-1).textContent"
    )
    assert NASTY in config.replace("\\", "")


def test_pages_name_no_address_to_load(pages):
    for page in pages.values():
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text)


def made_up(classes: int, background: bool = False) -> Report:
    """A report on results of so many classes, each taken for the next one some times."""
    size = classes + background
    confusion = np.eye(size, dtype=np.int64) * 50
    confusion[range(classes - 1), range(1, classes)] = range(1, classes)
    names = [f"class {i}" for i in range(classes)]
    image = Image.new("RGB", (480, 360), (9, 90, 200))
    results = Results(
        images=7,
        numbers={"top-1": 12.34},
        classes=names,
        columns={"accuracy": np.linspace(90, 10, classes), "images": np.arange(classes)},
        confusion=confusion,
        labels=[*names, *["background"] * background],
        unit="images",
        method="They were made up.",
        order="nothing",
        cases=[Case("a.jpg", "", {"": image}, {})],
    )
    results.columns["accuracy"][1] = np.nan
    return Report(
        *("made up", Path("work"), Config(dict(a="</pre><b>")), History(), None),
        *(Verdict("none", "No verdict.", [], []), {}, results, "Nothing.", {}, ["make"]),
    )


@pytest.mark.parametrize(
    ("classes", "matrix"), [(8, "table"), (80, "picture"), (1000, "confusions alone")]
)
@pytest.mark.parametrize("width", [390, 1280])
def test_many_classes_stay_readable(classes, matrix, width, browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(render(made_up(classes, background=True)))
    facts = look(browser, page, width)
    names = browser.execute_script(
        "return [...document.querySelectorAll('.classes tbody th')].map(t => t.textContent)"
    )
    assert len(names) == classes
    # The worst first; what was not measured comes last.
    assert [names[0], names[-1]] == [f"class {classes - 1}", "class 1"]
    shown = [name for name in facts["classes"] if name]
    assert len(shown) == min(classes, 25)
    assert len(browser.find_elements("css selector", ".matrix")) == (matrix == "table")
    dots = browser.find_elements("css selector", ".dots")
    assert len(dots) == (matrix == "picture")
    assert facts["pictures"][: len(dots)] == [classes + 1] * len(dots)
    assert facts["overflow"] <= 0
    assert page.stat().st_size < SIZE_LIMIT
    assert "a = &#39;&lt;/pre&gt;&lt;b&gt;" in page.read_text()


@pytest.mark.parametrize(("status", "color"), [("good", "18, 120, 58"), ("bad", "179, 38, 30")])
def test_verdict_is_plain(status, color, browser, tmp_path):
    compared = Comparison("box AP", "epoch 7", 27.1, 29.8, 28.3, status == "good")
    made = made_up(3)
    made.verdict = Verdict(status, "A title.", [compared], ["A note."])
    (tmp_path / "page.html").write_text(render(made))
    look(browser, tmp_path / "page.html", 390)
    shown = browser.find_element("id", "verdict")
    assert shown.text.splitlines() == [
        "A title.",
        "box AP, epoch 7: 27.1, published 29.8; on track from 28.3",
        "A note.",
    ]
    title = shown.find_element("css selector", "strong")
    assert f"({color}" in title.value_of_css_property("color")


def test_published_curves_lie_beside_the_runs():
    made = made_up(3)
    made.history = run_of(7)
    alone = render(made)
    made.published = CURVES["retinanet_lsnet_t_coco"]
    beside = render(made)
    for name in ("box AP, published", "published"):
        assert (alone + beside).count(f">{name}</text>") == 1
    assert (alone.count("stroke-dasharray"), beside.count("stroke-dasharray")) == (0, 4)


def test_confusions_are_listed_by_frequency():
    found = top_confusions(made_up(30, background=True).results)
    assert len(found) == 20
    assert found[0] == dict(true="class 28", found="class 29", count=29, share=2900 / 79)
    assert [item["count"] for item in found] == sorted((c["count"] for c in found), reverse=True)
    assert len(top_confusions(made_up(2).results)) == 1


def test_plot_takes_names_as_they_are_and_colours_from_the_page():
    svg = plot("a <b>", "epoch", [Line("$x <c>$", {1: 1.0, 2: 1000.0}, 1, "dots")])
    assert 'aria-label="a &lt;b&gt;"' in svg
    assert "$x &lt;c&gt;$" in svg
    assert "var(--series-1)" in svg
    assert "currentColor" in svg
    assert ">100</text>" in svg  # a logarithmic axis
    assert not re.search(r"#0000\d\d", svg)
    assert str(Environment(autoescape=True).from_string("{{ svg }}").render(svg=svg)) == svg
