"""The page of a report, as a reader meets it: in a browser without network."""

import io
import json
import math
import wave
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gantlet.core.estimate import Estimate, Spend
from gantlet.report import pictures
from gantlet.report.blocks import (
    Caveat,
    Code,
    Column,
    Dot,
    Fact,
    Facts,
    Forest,
    Gallery,
    Group,
    Lines,
    Picture,
    Point,
    Prose,
    Report,
    Row,
    Scatter,
    Section,
    Series,
    Table,
    Verdict,
)
from gantlet.report.documents import render

pytestmark = pytest.mark.browser

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>]]></title></svg>"

LINES = f"""# Slopes, {HOSTILE}
x = real.detach().requires_grad_()
(slope,) = torch.autograd.grad(torch.logit(critic(x), eps=1e-7).sum(), x, create_graph=True)

for own in players:
    for p in own:
        p.grad = None"""

# Name, energy distance and half-width, bits/dim, training FLOP, sampling FLOP, parameters.
MODELS = [
    ("gan:latent=32,loss=relativistic,r1=0.1,r2=0.1", 0.041, 0.006, None, 2.0e11, 3.4e5, 214_000),
    ("flow:steps=8,coupling=affine,width=128", 0.052, 0.009, 2.291, 1.99e11, 4.1e6, 511_360),
    ("ar:layers=4,width=64", 0.021, 0.004, 2.083, 1.98e11, 3.1e7, 203_905),
    ("vae:latent=16", 0.066, 0.011, 2.118, 2.0e11, 2.2e5, 187_713),
    ("diffusion:steps=32,sampler=heun", 0.018, 0.005, 2.203, 2.0e11, 5.9e7, 342_784),
    ("flow-gan:lambda=1", 0.049, 0.008, 2.244, 2.0e11, 4.1e6, 725_361),
    ("histogram", 0.310, 0.012, 2.421, 2.1e7, 1.3e3, 1_088),
    ("gmm:components=10", 0.038, 0.003, 2.305, 3.4e9, 8.6e3, 41_610),
    (HOSTILE, 0.12, 0.05, 2.9, 2.0e11, 5.0e5, 90_000),
]


def around(value, half, **rest):
    if value is None:
        return Estimate.missing("a GAN has no density", **rest)
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=3,
        method="mean of 3 seeds, Student's t",
        **rest,
    )


def main_table():
    columns = [
        Column(name="model"),
        Column(name="energy distance", better="lower", help="Distance between test and samples."),
        Column(name="precision", better="higher"),
        Column(name="recall", better="higher"),
        Column(name="likelihood", better="lower", unit="bits/dim", help="On held-out data."),
        Column(name="parameters"),
        Column(name="training", better="lower", unit="FLOP", help="Until validation stopped."),
        Column(name="per sample", better="lower", unit="FLOP"),
        Column(name="latency, batch 1", better="lower", unit="s"),
        Column(name="samples/s, batch 64", better="higher"),
    ]
    rows = [
        [
            name,
            around(distance, half, better="lower"),
            Estimate(value=0.97 - distance, low=0.9 - distance, high=0.98 - distance, n=500),
            around(0.9 - 2 * distance, 0.031, better="higher"),
            around(bits, 0.014, unit="bits/dim", better="lower"),
            parameters,
            Estimate.exact(training, unit="FLOP"),
            Estimate.exact(sampling, unit="FLOP"),
            around(sampling * 1.1e-10 + 2e-4, 2.2e-5, unit="s"),
            around(6.4e9 / (sampling + 9e5), 70.0),
        ]
        for name, distance, half, bits, training, sampling, parameters in MODELS
    ]
    blank = [None] * 6
    rows.append(["real (held-out)", around(0.007, 0.002), around(0.96, 0.01), 0.95, *blank])
    rows.append(["memorizer", around(0.008, 0.002), around(0.99, 0.01), 0.97, *blank])
    return Table(
        title="Nine families on digits, each with 2×10¹¹ FLOP",
        columns=columns,
        rows=rows,
        references=["real (held-out)", "memorizer"],
        note="Distances on random convolutional features; likelihood on 360 held-out digits.",
    )


def pareto():
    return Scatter(
        title="Quality against the cost of a sample",
        x_label="FLOP per sample",
        y_label="energy distance",
        points=[
            Point(
                name=name,
                x=sampling,
                y=distance,
                y_low=distance - half,
                y_high=distance + half,
                front=name.startswith(("diffusion", "ar", "gmm", "histogram")),
            )
            for name, distance, half, _, _, sampling, _ in MODELS
        ],
        log_x=True,
        log_y=True,
        note="Full points: nothing else is both better and cheaper. Bars: 95 % over 3 seeds.",
    )


def curves(models, n=4000):
    rng = np.random.default_rng(0)
    x = np.linspace(1e9, 2e11, n)
    series = []
    for k, (name, end, *_) in enumerate(models):
        y = end + (0.9 + k / 10) * np.exp(-x / (1.5e10 + 6e9 * k)) + 0.004 * rng.normal(size=n)
        width = 0.02 + 0.1 * np.exp(-x / 2e10)
        series.append(
            Series(
                name=name,
                x=x.tolist(),
                y=y.tolist(),
                low=(y - width).tolist(),
                high=(y + width).tolist(),
            )
        )
    return Lines(
        title=f"Energy distance while {len(models)} families train",
        x_label="training FLOP",
        y_label="energy distance",
        series=series,
        note="Mean and 95 % band over 3 seeds, on the validation split.",
    )


def forest():
    groups = [
        Group(
            name=f"Against {against}",
            dots=[
                Dot(name=name, estimate=around(distance - base, half + 0.004))
                for name, distance, half, *_ in MODELS[:6]
                if not name.startswith(against)
            ],
        )
        for against, base in (("diffusion", 0.018), ("gan", 0.041))
    ]
    groups[1].dots.append(Dot(name="one seed only", estimate=around(0.01, 0.9)))
    groups[1].dots.append(Dot(name="diverged", estimate=Estimate.missing("diverged at step 12")))
    return Forest(
        title="Paired differences in energy distance",
        unit="1",
        groups=groups,
        reference=0.0,
        note="Below 0: better than the one it is compared with. Full: separated from 0.",
    )


def gallery():
    from sklearn.datasets import load_digits

    real = (load_digits().images * 15.9).astype(np.uint8)[..., None]
    rng = np.random.default_rng(0)
    found = [Picture(caption="real (held-out)", png=pictures.grid(real[-64:]))]
    for k, (name, *_) in enumerate(MODELS):
        noise = rng.normal(0, 12 * (k + 1), size=(64, 8, 8, 1))
        noisy = np.clip(real[64 * k : 64 * k + 64] + noise, 0, 255).astype(np.uint8)
        found.append(Picture(caption=name, png=pictures.grid(noisy)))
    return Gallery(
        title="Samples", pictures=found, note="The first 64 of seed 0, chosen by nobody."
    )


def clouds():
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * math.pi, 2000)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.05, (2000, 2))
    wide = np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.2, (2000, 2))
    return Gallery(
        title="Samples of a ring",
        pictures=[
            Picture(caption="real", png=pictures.points(ring)),
            Picture(caption="gan", png=pictures.points(wide, around=ring)),
        ],
    )


def example():
    table = main_table()
    rows = [
        Row(data="digits", model=name, seed=seed, name="energy", estimate=around(d, h))
        for name, d, h, *_ in MODELS
        for seed in range(3)
    ]
    return Report(
        title="Six families and three baselines on digits, at equal compute",
        command="compare",
        question={"models": [m[0] for m in MODELS], "data": "digits", "seeds": 3, "flops": 2e11},
        spend=Spend(flops=1.43e12, examples=2_304_000, steps=18_000, seconds=212.4),
        facts=Facts(
            items=[
                Fact(name="date", value="2025-11-23 09:14 UTC"),
                Fact(name="version", value="gantlet 0.1.0, torch 2.13.0, Python 3.11.7"),
                Fact(name="hardware", value="2 cores, no GPU, 1 thread per worker"),
                Fact(name="data", value="digits: 1,257 train, 180 validation, 360 test"),
                Fact(name="seeds", value="0, 1, 2"),
                Fact(name="wall-clock", value="3 min 38 s"),
                Fact(name="not run", value="nothing was left out"),
            ]
        ),
        verdicts=[
            Verdict(
                claim="Diffusion and the autoregressive model come closest to the real digits; "
                "the two are not separated.",
                because="Energy distance 0.0180 ± 0.0050 and 0.0210 ± 0.0040 (3 seeds, 95 %); "
                "their difference is 0.0030 ± 0.0090. About 27 seeds would separate them.",
            ),
            Verdict(
                claim="A GAN samples 170 times as cheaply as diffusion.",
                because="340 kFLOP against 59.0 MFLOP a sample.",
            ),
            Verdict(
                claim="The default GAN does not beat a mixture of ten Gaussians.",
                because="Energy distance 0.0410 ± 0.0060 against 0.0380 ± 0.0030: not separated.",
            ),
        ],
        caveats=[
            Caveat(text="Three seeds: intervals are Student's t and wide."),
            Caveat(text="A distance on random convolutional features is not FID."),
            Caveat(text="Digits are 8×8 and grey; what wins here may lose on photographs."),
        ],
        rows=rows,
        blocks=[
            table,
            pareto(),
            forest(),
            curves(MODELS),
            curves(MODELS[:4]),
            gallery(),
            Code(title="The same in PyTorch", text=LINES, note="real is a batch."),
            Section(
                title="How the numbers were made",
                blocks=[
                    Prose(text="Every family sees the same batches.\n\nNothing was tuned."),
                    clouds(),
                    Section(title="The smallest print", blocks=[Prose(text=HOSTILE)]),
                ],
            ),
        ],
    )


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    where = tmp_path_factory.mktemp("report") / "report.html"
    where.write_text(render(example(), "html"), encoding="utf-8")
    return where


@pytest.fixture
def opened(open_page, page_file):
    """Opens the page without network."""

    def open_with(width=1400, **settings):
        own = page_file.as_uri()
        return open_page(own, own, width=width, offline=True, **settings)

    return open_with


def test_page_is_at_most_2_mb(page_file):
    assert page_file.stat().st_size <= 2_000_000


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("unfold", [False, True])
def test_nothing_is_wider_than_the_window(opened, width, unfold):
    page = opened(width)
    if unfold:
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = page.evaluate(
        """w => [...document.querySelectorAll('h1, h2, p, dl, .scroll, figure, nav')]
            .filter(e => e.getBoundingClientRect().right > w + 1).map(e => e.className)""",
        width,
    )
    assert too_wide == []


@pytest.mark.parametrize("width", [400, 1400])
def test_text_is_large_enough_to_read(opened, width):
    page = opened(width)
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('.plot text')].map(t =>
            parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)"""
    )
    assert min(sizes) >= 8.5
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 16


def column(page, k):
    rows = page.locator("#b1 tbody").first.locator("tr")
    return [rows.nth(i).locator("th, td").nth(k).text_content() for i in range(rows.count())]


def test_tables_are_sorted_by_keyboard(opened):
    page = opened()
    before = column(page, 0)
    head = page.locator("#b1 thead th").nth(1)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, 0)[0].startswith("diffusion")
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, 0)[0] == "histogram"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") is None
    assert column(page, 0) == before


def test_what_is_missing_is_sorted_last_either_way(opened):
    page = opened()
    head = page.locator("#b1 thead th").nth(4)
    for _ in range(2):
        head.locator("button").click()
        assert column(page, 0)[-1].startswith("gan")
    assert page.locator("#b1 tbody.references tr").count() == 2


def test_every_button_is_reached_with_tab(opened):
    page = opened()
    page.locator("#b1 .scroll").focus()
    seen = []
    for _ in range(10):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent"))
    assert seen[0] == "model"
    assert seen[-1].startswith("samples/s")


def test_dark_mode_changes_the_colours(opened):
    look = "getComputedStyle(document.body).backgroundColor"
    light = opened(color_scheme="light").evaluate(look)
    dark = opened(color_scheme="dark").evaluate(look)
    assert light != dark


def test_text_stands_out_from_the_paper_in_both_schemes(opened):
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        read = "n => getComputedStyle(document.documentElement).getPropertyValue(n).trim()"
        paper = luminance(page.evaluate(read, "--paper"))
        for name, least in (("--ink", 7), ("--soft", 4.5), ("--link", 4.5), ("--s0", 3)):
            assert contrast(paper, luminance(page.evaluate(read, name))) >= least
        for name in ("--s1", "--s2", "--s3", "--s4"):
            assert contrast(paper, luminance(page.evaluate(read, name))) >= 3


def luminance(colour):
    """WCAG 2.2, definition of relative luminance."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_hostile_names_are_text(opened):
    page = opened()
    assert HOSTILE in column(page, 0)
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    titles = page.locator("svg title").all_text_contents()
    assert any(HOSTILE in t for t in titles)
    models = page.evaluate("JSON.parse(document.getElementById('report').textContent).rows")
    assert HOSTILE in {row["model"] for row in models}


def test_headings_are_in_order(opened):
    levels = opened().evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_charts_have_words_and_a_table(opened):
    page = opened()
    charts = page.locator("svg")
    assert charts.count() >= 4
    for k in range(charts.count()):
        assert charts.nth(k).locator("> title").text_content()
        assert charts.nth(k).locator("> desc").text_content()
    assert page.locator("figure.plot + details table, figure.wide + details table").count() == 4


def test_page_is_whole_without_scripts(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("button").count() == 0
    assert page.locator("#b1 tbody tr").count() == len(MODELS) + 2
    assert page.get_by_text("not separated").first.is_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_click_enlarges_a_picture_and_another_shrinks_it(opened, scripts):
    page = opened(java_script_enabled=scripts)
    image = page.locator(".gallery img").first
    before = image.bounding_box()["width"]
    assert before >= 280
    image.click()
    assert image.bounding_box()["width"] > 2.5 * before
    image.click()
    assert image.bounding_box()["width"] == before


def test_a_picture_is_enlarged_by_keyboard_on_a_telephone_too(opened):
    page = opened(400)
    summary = page.locator(".gallery summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator(".gallery .zoom[open]").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_wide_table_says_that_it_scrolls(opened):
    page = opened(400)
    says = """() => [...document.querySelectorAll('.table')]
        .filter(t => t.checkVisibility()).map(t => [
        t.querySelector('.scroll').scrollWidth > t.querySelector('.scroll').clientWidth + 1,
        getComputedStyle(t, '::before').content.includes('scrolls')])"""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.table:not(.measured)')]"
        ".every(t => !t.checkVisibility())"
    )
    found = page.evaluate(says)
    assert any(wide for wide, _ in found)
    assert all(wide == said for wide, said in found)


def test_a_wide_table_says_that_it_scrolls_without_a_script(opened):
    page = opened(400, java_script_enabled=False)
    assert page.locator(".table.over-phone").count() > 0
    said = "t => getComputedStyle(t, '::before').content"
    assert "scrolls" in page.locator(".table.over-phone").first.evaluate(said)


def test_links_on_top_lead_to_what_is_folded(opened):
    page = opened()
    details = page.locator("#details")
    assert details.get_attribute("open") is None
    page.locator("nav a", has_text="Run details").click()
    assert details.get_attribute("open") is not None


def test_table_is_copied_as_latex_and_csv(opened):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    buttons = page.locator("#b1 .tools button")
    assert buttons.all_text_contents() == ["Copy as LaTeX", "Copy as CSV"]
    for k, start in enumerate(["\\begin{table}", "model,"]):
        buttons.nth(k).click()
        buttons.nth(k).filter(has_text="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()").startswith(start)


def test_code_scrolls_inside_its_box_and_is_copied_as_it_is(opened):
    permissions = ["clipboard-read", "clipboard-write"]
    for width, scheme in ((1400, "light"), (400, "dark")):
        page = opened(width, color_scheme=scheme, permissions=permissions)
        box = page.locator("pre.code")
        inside, outside = box.evaluate("b => [b.scrollWidth, b.clientWidth]")
        assert (inside > outside) == (width == 400)
        assert box.evaluate("b => getComputedStyle(b).whiteSpace") == "pre"
        box.focus()
        assert page.evaluate("document.activeElement.className") == "code"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert box.evaluate("b => getComputedStyle(b).backgroundColor") != paper
        page.get_by_role("button", name="Copy as text").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == LINES
    page.locator("nav a", has_text="The same in PyTorch").click()
    page.emulate_media(media="print")
    assert box.evaluate("b => b.scrollWidth <= b.clientWidth")


def test_report_json_is_downloaded(opened, tmp_path):
    page = opened()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download report.json").click()
    waiting.value.save_as(tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data["command"] == "compare"
    assert len(data["rows"]) == 3 * len(MODELS)


def test_printing_unfolds_all_but_the_numbers_of_charts(opened):
    page = opened()
    folded = page.locator("details:not([open], .zoom)")
    before = folded.count()
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == page.locator("details.numbers").count() < before
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert folded.count() == before


def test_main_table_fits_on_paper(opened):
    page = opened(width=680)  # A4 with margins of 15 mm, at 96 pixels an inch
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 680


def test_sounds_are_played_from_the_page_alone(open_page, tmp_path):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(2 * 4000))
    png = pictures.grid(np.zeros((1, 8, 8, 1), np.uint8))
    picture = Picture(caption="tones", png=png, sounds=[file.getvalue()] * 2)
    gallery = Gallery(title="Samples", pictures=[picture])
    report = replace(example(), blocks=[gallery])
    where = tmp_path / "report.html"
    where.write_text(render(report, "html"), encoding="utf-8")
    own = where.as_uri()
    page = open_page(own, own, offline=True)
    page.wait_for_function(
        "() => [...document.querySelectorAll('audio')].every(a => a.readyState >= 1)"
    )
    found = page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
    assert found == [0.5, 0.5]
