"""The page of `vhs report` in a real browser without a network: `make test-browser`.

Needs chromium and its driver (Debian: `apt-get install chromium chromium-driver`); skipped where they are missing.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.commands import run_in
from tests.javascript import Scripts
from vhs.formats import tables

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromium-driver: apt-get install both"
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,900",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9", "--disable-background-networking",
)  # fmt: skip
LOADS = {"small": 3.0, "large": 8.0}
"""Seconds until a page is drawn, on two slow cores."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_checkpoint: Path) -> Path:
    """Tables of a real run, and their page."""
    place = tmp_path_factory.mktemp("browser")
    shutil.copy(toy_checkpoint, place / "vit.safetensors")
    data, shift = toy_checkpoint.parent / "shards" / "val", ("--shift", "contrast:2,5", "--shift", "fog:3")
    run_in(place, [
        (
            "ablate",
            "vit.safetensors",
            "--data",
            data,
            *shift,
            "--per-sample",
            "heads.outcomes.parquet",
            "-o",
            "heads.csv",
        ),
        ("specialize", "vit.safetensors", "--data", data, "--shift", "fog:3", "-o", "looks.csv"),
        ("specialize", "vit.safetensors", "--data", data, "--shift", "fog:3", "--maps", "maps.safetensors"),
        ("compare", "heads.csv", "-o", "agreement.csv"),
        ("report", "heads.csv", "looks.csv", "agreement.csv", "maps.safetensors", "-o", "report.html"),
    ])  # fmt: skip
    return place


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS:
        options.add_argument(flag)
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.downloads = downloads  # type: ignore[attr-defined]
    yield driver
    driver.quit()


def opened(browser: Any, path: Path, address: str = "") -> float:
    """Seconds until the page is drawn."""
    browser.get("about:blank")
    start = time.perf_counter()
    browser.get(f"file://{path}{address}")
    while browser.execute_script("return document.documentElement.dataset.ready") != "yes":
        assert time.perf_counter() - start < 30, browser.get_log("browser")
        time.sleep(0.02)
    return time.perf_counter() - start


@pytest.fixture
def at_page(browser: Any, folder: Path) -> Iterator[Any]:
    """The page, fresh; nothing may be said on the console."""
    opened(browser, folder / "report.html")
    yield browser
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []


def all_of(browser: Any, selector: str) -> list[Any]:
    """Elements; what a click opens is there a moment after it."""
    for _ in range(50):
        found = browser.find_elements("css selector", selector)
        if found:
            return found
        time.sleep(0.02)
    return []


def click(browser: Any, selector: str, words: str) -> None:
    from selenium.common.exceptions import StaleElementReferenceException

    for _ in range(100):  # what opens does so a moment after the click, and the page may be drawn anew meanwhile
        try:
            found = next((item for item in all_of(browser, selector) if item.text == words), None)
            if found is not None:
                return found.click()
        except StaleElementReferenceException:
            continue
        time.sleep(0.03)
    raise AssertionError(f"no {selector} says {words}")


def heads(folder: Path, corruption: str | None, severity: int) -> pl.DataFrame:
    table = tables.read(str(folder / "heads.csv")).rows.filter(pl.col("unit") == "head")
    own = table.filter(pl.col("corruption").eq_missing(pl.lit(corruption)) & (pl.col("severity") == severity))
    return own.sort("layer", "head")


def shown(browser: Any) -> dict[str, list[float]]:
    """What the right-hand head map is drawn from, as the page is now."""
    return json.loads(
        browser.execute_script("return JSON.stringify(effectsOf(page.data.runs[0], looked(page.data.runs[0])))")
    )


def test_the_numbers_are_the_tables(at_page: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import Select

    Select(at_page.find_element("id", "look")).select_by_visible_text("contrast 5")
    table = heads(folder, "contrast", 5)
    found = shown(at_page)
    for ours, column in (("value", "drop"), ("lo", "drop_lo"), ("hi", "drop_hi"), ("p", "p"), ("q", "q")):
        assert np.allclose(found[ours], table[column], rtol=1e-9, atol=1e-9), column
    label = all_of(at_page, "table.heads button")[6].get_attribute("aria-label")
    first = table.row(0, named=True)
    value = f"{first['drop'] * 100:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")
    assert label.startswith(f"L0H0, contrast 5, {value} points")
    Select(at_page.find_element("id", "scale")).select_by_value("loss")
    assert np.allclose(shown(at_page)["hi"], table["dloss_hi"], rtol=1e-9, atol=1e-9)


def test_ticking_scores_anew(at_page: Any, folder: Path) -> None:
    click(at_page, "details.box summary", "Conditions")
    click(at_page, "details.box button", "contrast")
    assert "1 of 3 shifted conditions" in at_page.find_element("id", "words").text
    assert np.allclose(shown(at_page)["value"], heads(folder, "fog", 3)["drop"], atol=1e-9)
    click(at_page, "details.box summary", "Conditions")
    click(at_page, "details.box summary", "Classes")
    click(at_page, "details.box label", at_page.execute_script("return everyClass()[0]"))
    reference = Scripts((folder / "report.html").read_text())
    classes = reference("data.runs[0].samples.classes")
    wanted = reference(
        f"effects(data.runs[0], [3], maskOf(data.runs[0].samples, {{classes: {classes[1:]}, groups: {{}}}}), 'accuracy')"
    )
    found = shown(at_page)
    assert found["n"] == wanted["n"] < 85 and np.allclose(found["value"], wanted["value"], atol=1e-12)
    assert "Chosen after seeing the data" in at_page.find_element("id", "words").text
    click(at_page, "#choice > button", "Reset")
    assert at_page.find_element("id", "words").text == "" and shown(at_page)["n"] == 85


def test_tables_sort_filter_and_go_as_csv(at_page: Any, folder: Path) -> None:
    click(at_page, "#heads summary", "Heads as a table")
    header = next(item for item in all_of(at_page, "#heads thead button") if item.text.startswith("clean: effect"))
    header.click()
    first = [row.text for row in all_of(at_page, "#heads tbody th[scope=row] button.link")]
    table = heads(folder, None, 0)
    names = [f"L{layer}H{head}" for layer, head in table.sort("drop", descending=True).select("layer", "head").rows()]
    assert first[0] == names[0] and header.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    header.click()
    assert [row.text for row in all_of(at_page, "#heads tbody th[scope=row] button.link")][-1] == names[0]
    at_page.find_element("css selector", "#heads input[type=search]").send_keys("L1H")
    assert len(all_of(at_page, "#heads .table tbody tr")) == 2
    at_page.find_element("css selector", "#heads input[type=search]").clear()
    at_page.execute_script(
        "arguments[0].dispatchEvent(new Event('input'))",
        at_page.find_element("css selector", "#heads input[type=search]"),
    )
    click(at_page, "#heads .table button", "Download as CSV")
    rows = list(csv.DictReader(io.StringIO(downloaded(at_page, "heads*.csv"))))
    clean = {row["head"]: float(row["clean_value"]) for row in rows}
    assert clean == pytest.approx(
        {f"L{r['layer']}H{r['head']}": r["drop"] for r in table.iter_rows(named=True)}, abs=1e-9
    )


def test_a_whole_table_comes_back_as_it_was(at_page: Any, folder: Path) -> None:
    summary = next(item for item in all_of(at_page, "#tables summary") if item.text.startswith("looks.csv"))
    summary.click()
    click(at_page, "#tables details[open] button", "Download as CSV")
    found = pl.read_csv(io.StringIO(downloaded(at_page, "looks*.csv")), infer_schema_length=None)
    wanted = tables.read(str(folder / "looks.csv")).rows
    assert found.columns == wanted.columns and found.height == wanted.height
    assert found["value"].to_list() == wanted["value"].to_list() and found["lo"].to_list() == wanted["lo"].to_list()


def downloaded(browser: Any, pattern: str) -> str:
    """The text of the newest download of this name."""
    for _ in range(200):
        found = sorted(browser.downloads.glob(pattern), key=lambda path: path.stat().st_mtime)
        if found and not list(browser.downloads.glob("*.crdownload")):
            text = found[-1].read_text()
            found[-1].unlink()
            return text
        time.sleep(0.05)
    raise AssertionError(f"no {pattern} was downloaded")


def test_by_keyboard(at_page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    first = all_of(at_page, "table.heads button")[0]
    assert (
        first.get_attribute("tabindex") == "0"
        and all_of(at_page, "table.heads button")[1].get_attribute("tabindex") == "-1"
    )
    at_page.execute_script("arguments[0].focus()", first)
    at_page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    at_page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert at_page.switch_to.active_element.get_attribute("aria-label").startswith("L1H1, clean")
    assert at_page.find_element("id", "tip").is_displayed()
    at_page.switch_to.active_element.send_keys(Keys.ENTER)
    card = at_page.find_element("id", "card")
    assert card.is_displayed() and card.text.startswith("Head L1H1") and "What it looks at" in card.text
    assert at_page.switch_to.active_element.get_attribute("aria-label").startswith("L1H1"), (
        "the focus stays where it was"
    )
    assert "h=%22L1H1%22" in at_page.current_url


def test_an_address_and_a_saved_copy_show_the_same(at_page: Any, folder: Path, tmp_path: Path) -> None:
    all_of(at_page, "table.heads button")[2].click()
    click(at_page, "details.box summary", "Conditions")
    click(at_page, "details.box button", "fog")
    address, was = at_page.current_url.partition("#")[2], shown(at_page)
    opened(at_page, folder / "report.html", f"#{address}")
    assert shown(at_page) == was and at_page.find_element("id", "card").is_displayed()
    click(at_page, "#choice > button", "Save this view")
    copy = tmp_path / "copy.html"
    copy.write_text(downloaded(at_page, "report*.html"))
    opened(at_page, copy)
    assert shown(at_page) == was and at_page.find_element("id", "card").is_displayed()
    opened(at_page, folder / "report.html", "#x=%22zz%22&m=[9]&h=3&q")
    assert shown(at_page)["n"] == 85


def test_dark_and_print(at_page: Any) -> None:
    def paper() -> str:
        return str(at_page.execute_script("return getComputedStyle(document.body).backgroundColor"))

    assert paper() == "rgb(255, 255, 255)"
    at_page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    assert paper() == "rgb(20, 23, 27)"
    click(at_page, "#choice > button", "Light or dark")
    assert paper() == "rgb(255, 255, 255)"
    at_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert (
        not at_page.find_element("id", "choice").is_displayed()
        and at_page.find_element("css selector", "table.heads").is_displayed()
    )
    printed = at_page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(printed) > 50_000
    at_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_with_scripts_off(browser: Any, folder: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(f"file://{folder / 'report.html'}")
        picture = browser.find_element("css selector", "img.main")
        assert picture.is_displayed() and picture.size["width"] > 500
        assert (
            all_of(browser, "table.plain tbody tr")[0].is_displayed()
            and "L1H1" in browser.find_element("css selector", "main").text
        )
        assert not browser.find_element("id", "choice").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_names_full_of_script_stay_text(browser: Any, folder: Path, tmp_path: Path) -> None:
    evil = "<img src=x onerror=document.title='caught'></script><script>document.title='caught'</script>\"'&$1"
    for name in ("heads.csv", "heads.outcomes.parquet", "looks.csv"):
        table = tables.read(str(folder / name)).rows.with_columns(
            model=pl.lit(evil.replace("/", "|")), data=pl.lit(evil)
        )
        table = table.with_columns(pl.lit(evil).alias("class")) if "class" in table.columns else table
        table.write_parquet(tmp_path / f"{name.split('.')[0]}-{len(name)}.parquet")
    files = sorted(str(path.name) for path in tmp_path.glob("*.parquet"))
    subprocess.run(
        [sys.executable, "-m", "vhs", "report", *files, "-o", "evil.html"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    opened(browser, tmp_path / "evil.html")
    all_of(browser, "table.heads button")[0].click()
    click(browser, "details.box summary", "Classes")
    for summary in all_of(browser, "main section details > summary"):
        browser.execute_script("arguments[0].parentElement.open = true", summary)
    time.sleep(0.3)
    assert browser.title != "caught" and all_of(browser, "img[src=x]") == []
    assert evil in [label.text for label in all_of(browser, "details.box label")]
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []


def test_a_page_that_was_cut_says_so(browser: Any, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "report.html").read_text()
    at = whole.index('id="data">') + 3000
    (tmp_path / "cut.html").write_text(whole[:at] + whole[whole.index("</script>", at) :])
    browser.get(f"file://{tmp_path / 'cut.html'}")
    time.sleep(0.5)
    assert "The numbers of this page cannot be read" in browser.find_element("id", "trouble").text
    assert browser.find_element("css selector", "img.main").is_displayed(), "what needs no numbers is there"
    browser.get_log("browser")


@pytest.mark.slow
def test_how_long_pages_take(browser: Any, folder: Path, tmp_path: Path) -> None:
    from tests.large import ablation
    from vhs.reports import opening, page

    assert opened(browser, folder / "report.html") < LOADS["small"]
    table, tallies, outcomes = ablation(layers=12, heads=12, conditions=76, samples=2000)
    named = opening.Named({"ablate": table, "folds": tallies}, [], {}, [], [outcomes])
    (tmp_path / "large.html").write_bytes(page.render(named, None, "vhs report"))
    assert opened(browser, tmp_path / "large.html") < LOADS["large"]
    start = time.perf_counter()
    click(browser, "details.box summary", "Classes")
    click(browser, "details.box label", "class-000")
    assert time.perf_counter() - start < 4, "a tick scores 76 conditions of 144 heads anew"
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []
