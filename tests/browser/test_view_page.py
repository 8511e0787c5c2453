"""The page of all runs as a reader meets it: a file without network, or served."""

import json
from pathlib import Path

import pytest

from gantlet.run.store import Run, hold
from gantlet.view.contrast import contrast
from gantlet.view.page import View
from run_folders import COMPARE, make_run, numbers, outcome, serving

pytestmark = pytest.mark.browser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def opened(open_page):
    """Opens a page that may ask for its neighbours."""

    def open_with(url, width=1400, **settings):
        own = url.partition("#")[0].rpartition("/")[0]
        return open_page(url, own, width=width, **settings)

    return open_with


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("view") / "runs"
    first = [*numbers("real"), *numbers("gan:a=1"), *numbers("flow:b=1", seed=1)]
    second = [*numbers("real"), *numbers("gan:a=1", shift=0.6), *numbers("vae")]
    wide = {**COMPARE, "models": ["gan:latent=64,width=128", "vae:latent=2"], "seeds": [0]}
    make_run(root / "alpha", trials=12, rows=first, claim="gan is ahead of flow.")
    make_run(root / "beta", wide, trials=3, rows=second, claim="vae and gan do not differ.")
    make_run(root / "cut", {"command": "flaws", "fakes": ["x.npz"], "real": "mnist"})
    (root / "cut" / "report.json").write_text("{")
    make_run(root / "half", done=1, report=False, ended=None)
    evil = {"command": f"flaws {HOSTILE}", "model": HOSTILE}
    make_run(root / "<img src=x onerror=alert(3)>", evil, claim=f"{HOSTILE}</script> is first.")
    return root


@pytest.fixture(scope="module")
def file(runs):
    return View(runs).write().as_uri()


@pytest.fixture
def served(runs):
    with serving(runs) as server:
        yield server.url


def names(page):
    return page.evaluate(
        "[...document.querySelectorAll('#runs tr:not([hidden])')].map(r => r.dataset.name)"
    )


def test_it_is_read_without_a_script(opened, file):
    page = opened(file, java_script_enabled=False)
    text = page.locator("body").inner_text()
    assert "compare gan and flow on digits, 200 GFLOP, 3 seeds" in text
    assert "gan is ahead of flow." in text
    assert "report.json ends early" in text
    assert not page.locator("#filter").is_visible()
    assert page.locator("#runs tr").count() == 5


def test_words_and_states_filter(opened, file):
    page = opened(file)
    assert page.locator("#shown").inner_text() == "5 runs"
    page.locator("#text").fill("DIGITS vae")
    assert names(page) == ["beta"]
    assert page.locator("#shown").inner_text() == "1 of 5 runs"
    page.locator("#text").fill("")
    page.locator("[name=state][value=damaged]").check()
    assert names(page) == ["cut"]
    page.locator("[name=state][value=stopped]").check()
    assert sorted(names(page)) == ["cut", "half"]
    page.locator("#text").fill("nothing like it")
    assert page.locator("#empty").is_visible()


@pytest.mark.parametrize("column", range(8))
def test_every_column_sorts_both_ways_and_back(opened, file, column):
    page = opened(file)
    first = names(page)
    head = page.locator("table.runs thead th").nth(column)
    head.locator("button").click()
    one = head.get_attribute("aria-sort")
    up = names(page)
    head.locator("button").click()
    other = head.get_attribute("aria-sort")
    assert {one, other} == {"ascending", "descending"}
    assert sorted(up) == sorted(first) == sorted(names(page))
    head.locator("button").click()
    assert names(page) == first


def test_numbers_sort_as_numbers(opened, file):
    page = opened(file)
    page.locator("table.runs thead th button", has_text="FLOPs").click()
    spent = {r.name: r.flops for r in View(Path(file[7:]).parent).runs}
    assert names(page)[:2] == ["alpha", "beta"]
    shown = [spent[n] for n in names(page) if spent.get(n)]
    assert shown == sorted(shown, reverse=True)


def cells(page, table):
    rows = page.locator(f"#pairs table >> nth={table} >> tbody tr")
    return [
        [c.replace("\u2212", "-") for c in rows.nth(k).locator("th, td").all_inner_texts()]
        for k in range(rows.count())
    ]


@pytest.mark.parametrize("how", ["file", "served"])
def test_two_runs_are_compared_as_by_the_command(opened, runs, request, how):
    page = opened(request.getfixturevalue(how))
    button = page.locator("#contrast")
    assert button.is_disabled()
    for name in ("half", "alpha", "beta"):  # the third takes the place of the first
        page.locator(f"[data-name={name}] .mark input").check()
    assert not page.locator("[data-name=half] .mark input").is_checked()
    button.click()
    page.locator("#pairs h3 >> nth=1").wait_for()
    view = View(runs)
    wanted = contrast(view.find("alpha"), view.find("beta"), runs)
    settings = [[n, a or "\u2013", b or "\u2013"] for n, a, b in wanted.settings]
    assert cells(page, 0) == settings
    shown = cells(page, 1)
    assert [row[0] for row in shown] == [p.label for p in wanted.pairs]
    assert [row[4] for row in shown] == [p.intervals for p in wanted.pairs]
    for row, pair in zip(shown, wanted.pairs, strict=True):
        assert float(row[1].split()[0]) == pytest.approx(pair.a.value, abs=0.01)
        assert float(row[2].split()[0]) == pytest.approx(pair.b.value, abs=0.01)
        assert float(row[3]) == pytest.approx(pair.difference, abs=0.01)
    claim = page.locator("#claim").inner_text()
    assert claim.startswith(wanted.claim)
    assert f"{wanted.only_a} are in alpha alone" in claim
    assert "without a test" in page.locator("#two").inner_text()
    assert {"overlap", "do not overlap", "no interval"} == {row[4] for row in shown}


def test_numbers_that_the_page_lacks_are_said(opened, file):
    page = opened(f"{file}#run=half&run=gone&two=1")
    assert names(page)[0]
    page.evaluate("chosen = ['gone', 'half']; compareTwo()")
    assert "are not in this page" in page.locator("#claim").inner_text()


def test_what_was_chosen_outlives_a_reload(opened, file):
    page = opened(file)
    page.locator("#text").fill("digits")
    page.locator("[name=state][value=finished]").check()
    page.locator("table.runs thead th button", has_text="question").click()
    for name in ("alpha", "beta"):
        page.locator(f"[data-name={name}] .mark input").check()
    page.locator("#contrast").click()
    page.locator("#pairs h3 >> nth=1").wait_for()
    before = names(page)
    page.reload()
    page.locator("#pairs h3 >> nth=1").wait_for()
    assert names(page) == before == ["alpha", "beta"]
    assert page.locator("#text").input_value() == "digits"
    assert page.locator("[aria-sort=ascending]").inner_text().strip().startswith("question")
    assert page.locator("[data-name=alpha] .mark input").is_checked()


def test_it_is_up_to_date_while_runs_go_on(opened, tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "old", claim="An old one.")
    make_run(runs / "new", done=0, report=False, ended=None)
    held = hold(runs / "new")
    with serving(runs) as server:
        page = opened(server.url)
        row = page.locator("[data-name=new]")
        assert row.locator(".state").inner_text() == "running"
        page.locator("#text").fill("compare")
        page.locator("[data-name=old] .mark input").check()
        page.locator("table.runs thead th button", has_text="state").click()
        for k in range(2):
            found = outcome(k)
            Run(runs / "new").record(found)
            Run(runs / "new").log("finished", trial=found.trial.key, error=None)
            row.locator(f"text={k + 1} of 2").first.wait_for(timeout=15000)
        make_run(runs / "third")
        (runs / "third" / "report.json").rename(runs / "new" / "report.json")
        held.release()
        page.locator("[data-name=new][data-state=finished]").wait_for(timeout=15000)
        page.locator("[data-name=third]").wait_for(timeout=15000)
        # What the reader had chosen stays: filter, order, mark.
        assert page.locator("#text").input_value() == "compare"
        assert page.locator("[data-name=old] .mark input").is_checked()
        assert page.locator("[aria-sort]").inner_text().strip().startswith("state")
        assert "finished" in page.locator("#glance").inner_text()


def test_focus_stays_where_it_was_when_rows_change(opened, tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "new", done=0, report=False, ended=None)
    held = hold(runs / "new")
    with serving(runs) as server:
        page = opened(server.url)
        page.locator("[data-name=new] .mark input").focus()
        found = outcome(0)
        Run(runs / "new").record(found)
        Run(runs / "new").log("finished", trial=found.trial.key, error=None)
        page.locator("[data-name=new] >> text=1 of 2").first.wait_for(timeout=15000)
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label == "Compare new"
    held.release()


def test_a_report_is_opened_and_reaches_nothing(opened, served):
    page = opened(served)
    page.locator("[data-name=alpha] a").click()
    page.locator("text=gan is ahead of flow.").first.wait_for()
    assert page.evaluate("self.origin") == "null"


def test_a_file_opens_itself_again_while_runs_go_on(opened, tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "a", claim="Before.")
    file = View(runs).write(live=True)
    page = opened(file.as_uri())
    assert "Before." in page.locator("#runs").inner_text()
    page.locator("[name=state][value=finished]").check()
    make_run(runs / "b", claim="After.")
    View(runs).write()
    page.locator("text=After.").wait_for(timeout=20000)
    assert page.locator("[name=state][value=finished]").is_checked()


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_nothing_is_wider_than_the_window(opened, file, width):
    page = opened(f"{file}#run=alpha&run=beta&two=1", width)
    page.locator("#pairs h3 >> nth=1").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = page.evaluate(
        """w => [...document.querySelectorAll('h1, h2, p, dl, .scroll, form, small, ul')]
            .filter(e => e.getBoundingClientRect().right > w + 1).map(e => e.outerHTML)""",
        width,
    )
    assert too_wide == []


def test_rows_are_cards_on_a_phone(opened, file):
    page = opened(file, 400)
    lefts = page.evaluate(
        "[...document.querySelectorAll('#runs tr:first-child td[data-label]')]"
        ".filter(e => e.offsetHeight).map(e => Math.round(e.getBoundingClientRect().left))"
    )
    assert len(lefts) >= 4
    assert len(set(lefts)) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_states_stand_out_from_the_paper(opened, file, scheme):
    page = opened(file, color_scheme=scheme)
    found = page.evaluate(
        """() => {
            const rgb = (s) => s.match(/[0-9.]+/g).slice(0, 3).map(Number);
            const light = (c) => rgb(c).map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
            const paper = light(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll('.pick .state')].map((e) => {
                const mark = light(getComputedStyle(e, '::before').borderTopColor);
                return (Math.max(mark, paper) + 0.05) / (Math.min(mark, paper) + 0.05);
            });
        }"""
    )
    assert len(found) == 5
    assert min(found) >= 3


def test_everything_is_reached_by_keyboard(opened, file):
    page = opened(file)
    page.locator("#text").focus()
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') "
                "?? document.activeElement.value ?? document.activeElement.textContent"
            )
        )
    assert "damaged" in seen
    assert "Compare alpha" in seen
    assert any("compare gan and flow" in (text or "") for text in seen)


def test_the_numbers_in_the_page_are_plain_data(opened, file):
    page = opened(file)
    found = json.loads(page.locator("#numbers").text_content())
    assert set(found) >= {"alpha", "beta"}
