"""The documentation builds without a warning, needs nothing from elsewhere, and leaves out no public name."""

import html
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
import zlib
from pathlib import Path

import pytest
from frameworks import NAMES, require

pytestmark = pytest.mark.system
ROOT = Path(__file__).parent.parent
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MODULES = (
    *(f"blursim_{name}" for name in NAMES),
    "blursim_jax.metrics",
    "blursim_jax.sharding",
    "blursim_torch.metrics",
    "blursim_torch.schedules",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built."""
    require(*NAMES, "flax", "torchmetrics", "mkdocs", "mkdocstrings", "mkdocs_glightbox", "mkdocs_jupyter", "ruff")
    folder = tmp_path_factory.mktemp("docs")
    result = build(ROOT / "docs", folder)
    assert result.returncode == 0, result.stdout
    return folder / "site"


def build(pages: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build pages under the project's configuration into `folder/site`, warnings being errors."""
    configuration = (ROOT / "mkdocs.yml").read_text().replace("docs_dir: docs", f"docs_dir: {pages}")
    configuration = configuration.replace("hooks: [docs/", f"hooks: [{ROOT}/docs/")
    (folder / "mkdocs.yml").write_text(configuration)
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", folder / "mkdocs.yml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Modules that are documented are looked for here.
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )


def public_names(module: types.ModuleType) -> set[str]:
    """What `__all__` has, or else every class and function of the module's own without an underscore."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__}
    return {name for name in own if not name.startswith("_")}


def undocumented(inventory: Path) -> set[str]:
    """The public names that the index of the built documentation does not have."""
    # Four lines of text, then a compressed one for each name.
    lines = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    found = {line.split()[0] for line in lines}
    names = {f"{name}.{public}" for name in MODULES for public in public_names(importlib.import_module(name))}
    assert len(names) > 16
    return names - found


@pytest.mark.xdist_group("site")
def test_every_public_name_is_documented(site: Path) -> None:
    assert undocumented(site / "objects.inv") == set()


@pytest.mark.xdist_group("site")
def test_a_page_without_a_name_and_a_dead_link_are_noticed(site: Path, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    shutil.copytree(ROOT / "docs", pages)
    api = (pages / "api_torch.md").read_text()
    (pages / "api_torch.md").write_text(api.replace("::: blursim_torch.blursim_maps\n", ""))
    with (pages / "limits.md").open("a") as file:
        file.write("\n[nowhere](nowhere.md) and [no such section](speed.md#no-such-section)\n")
    result = build(pages, tmp_path)
    assert result.returncode == 1
    assert "nowhere.md" in result.stdout
    assert "no-such-section" in result.stdout
    # Without the link the name alone is missing; the first builds failed before they wrote the index.
    shutil.copy(ROOT / "docs" / "limits.md", pages)
    assert build(pages, tmp_path).returncode == 0
    assert undocumented(tmp_path / "site" / "objects.inv") == {"blursim_torch.blursim_maps"}


@pytest.mark.xdist_group("site")
def test_pages_are_readable_without_a_network(site: Path) -> None:
    """No tag of a page fetches from elsewhere, and no script of the theme does.

    One would for diagrams and one for videos, which no page has, and one for the stars of the repository that a page
    links to.
    """
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        text = page.read_text()
        fetched = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=[\"']?(?:https?:)?//[^\"' >]+", text)
        fetched += re.findall(r"<link\b[^>]*?\bhref=[\"']?(?:https?:)?//[^\"' >]+", text)
        assert not [x for x in fetched if "canonical" not in x], page.name
        assert f'<a href="{address}"' in text and 'data-md-component="source"' not in text, page.name


@pytest.mark.xdist_group("site")
def test_every_figure_opens_in_a_lightbox(site: Path) -> None:
    figures = 0
    for page in set(site.glob("*.html")) - {site / "404.html"}:
        text = page.read_text().partition("<article")[2]
        found = re.findall(r"<img\b[^>]*?\bsrc=[\"']?([^\"' >]+)", text.partition("</article>")[0])
        opened = re.findall(r"<a\b[^>]*?glightbox[^>]*?\bhref=[\"']?([^\"' >]+)", text)
        assert found == opened, page.name
        figures += len(found)
    assert figures > 15


@pytest.mark.xdist_group("site")
def test_numbers_and_options_keep_their_line(site: Path) -> None:
    """In text and tables, and code blocks are as they were."""
    text = {page.stem: page.read_text() for page in site.glob("*.html")}
    assert '<span class="one-line">1e-05</span>' in text["reliability"]
    assert re.search(r'<span class="one-line">\d+\.\d+ ± \d\.\d+</span>', text["training_results"])
    assert '<code class="one-line">blursim_maps</code>' in text["what_it_measures"]
    assert '<span class="one-line">--data-range</span>' in text["original"]
    blocks = [block for page in text.values() for block in re.findall(r"<pre.*?</pre>", page, re.DOTALL)]
    assert len(blocks) > 100 and not [block for block in blocks if "one-line" in block]


@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("name", NAMES)
def test_pages_of_the_api_are_laid_out(site: Path, name: str) -> None:
    """Signatures fit the column, what a function returns is one item of a list, and examples are code."""
    text = (site / f"api_{name}.html").read_text()
    blocks = re.findall(r'<div class="doc-signature.*?</pre>', text, re.DOTALL)
    lines = [line for block in blocks for line in html.unescape(re.sub(r"<[^>]+>", "", block)).splitlines()]
    assert len(blocks) >= 10 and max(map(len, lines)) < 80
    returned = re.findall(r">Returns:<.*?</ul>", text, re.DOTALL)
    assert len(returned) >= 5 and {items.count("<li") for items in returned} == {1}
    assert text.count(">Examples:<") >= 5 and "<blockquote>" not in text


# Sends what lies beyond the width of a page, and not in something that scrolls, to the page around its frame.
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
    const scrolls = element => element.tagName != "ARTICLE"
        && (/auto|scroll/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
    const beyond = [...document.querySelectorAll("article *")].filter(element =>
        element.getBoundingClientRect().right > innerWidth + 1 && !scrolls(element.parentElement));
    parent.postMessage([location.pathname.split("/").pop(), ...beyond.map(element => element.tagName)].join(" "), "*");
}, 500))</script></body>"""


@pytest.mark.xdist_group("site")
@pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")
@pytest.mark.parametrize("width", [400, 1280])
def test_pages_fit_their_width_in_a_browser(site: Path, tmp_path: Path, width: int) -> None:
    assert BROWSER is not None
    pages = tmp_path / "site"
    shutil.copytree(site, pages)
    names = sorted(page.name for page in pages.glob("*.html"))
    for name in names:
        (pages / name).write_text((pages / name).read_text().replace("</body>", PROBE))
    # In frames, as no window is narrower than 500 pixels.
    frames = "".join(f"<iframe width={width} height=900 src={name}></iframe>" for name in names)
    script = "<script>addEventListener('message', event => { document.title += event.data + ';' })</script>"
    (pages / "frames.html").write_text(f"<title></title>{script}{frames}")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1400,1000", "--virtual-time-budget=20000", "--dump-dom"]
    dump = subprocess.run([*command, (pages / "frames.html").as_uri()], capture_output=True, text=True, timeout=120)
    assert sorted(re.findall(r"<title>(.*?)</title>", dump.stdout)[0].split(";")) == ["", *names]


@pytest.mark.xdist_group("site")
def test_links_of_the_built_pages_lead_somewhere(site: Path) -> None:
    """Those of notebooks too, which the strict build does not look at."""
    checked = 0
    for page in set(site.glob("*.html")) - {site / "404.html"}:
        for target in re.findall(r"<(?:a|img|link|script)\b[^>]*?\b(?:href|src)=[\"']?([^\"' >#]+)", page.read_text()):
            if not re.match(r"\w+:", target):
                checked += 1
                assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert checked > 300


@pytest.mark.parametrize("name", [pytest.param("tutorial_jax", marks=pytest.mark.slow), "tutorial_torch"])
def test_tutorials_run_and_print_what_is_shown(name: str) -> None:
    """Nearly, as a training differs in its last digits from processor to processor."""
    require(*(("jax", "flax", "optax") if name == "tutorial_jax" else ("torch", "torchmetrics")))
    require("nbclient", "ipykernel", "skimage", "matplotlib")
    import nbclient
    import nbformat

    path = ROOT / "docs" / f"{name}.ipynb"
    assert path.stat().st_size < 700_000
    shown, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    nbclient.NotebookClient(notebook, timeout=300).execute(cwd=ROOT)
    pictures = trained = 0
    for old, new in zip(shown.cells, notebook.cells, strict=True):
        expected, got = printed(old), printed(new)
        assert NUMBER.sub("#", got) == NUMBER.sub("#", expected)
        numbers, expected_numbers = (list(map(float, NUMBER.findall(text))) for text in (got, expected))
        # Before a training, numbers differ by rounding alone.
        trained = trained or "in range(steps)" in new.source
        relative, absolute = (0.02, 0.021) if trained else (0, 0.001)
        assert numbers == pytest.approx(expected_numbers, rel=relative, abs=absolute)
        assert not [x for cell in (old, new) for x in cell.get("outputs", []) if x.get("name") == "stderr"]
        pictures += sum("image/png" in output.get("data", {}) for output in new.get("outputs", []))
    assert pictures >= 4


NUMBER = re.compile(r"\d+(?:\.\d+)?")


def printed(cell: dict) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell.get("outputs", []))


def test_notebooks_are_as_they_were_run() -> None:
    paths = list((ROOT / "docs").glob("*.ipynb"))
    assert len(paths) == 2
    for path in paths:
        counts = [c["execution_count"] for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert counts == list(range(1, len(counts) + 1)), path.name


@pytest.mark.parametrize("name", ["blind_spots", pytest.param("descents", marks=pytest.mark.slow)])
def test_pictures_show_what_the_page_on_limits_says(name: str) -> None:
    require("jax", "optax", "skimage", "sklearn", "matplotlib", "rich")
    sys.path.append(str(ROOT / "docs"))
    import pictures

    titles = [axes.get_title() for axes in pictures.PICTURES[name]().axes]
    if name == "blind_spots":
        found = {title.split("\n")[0]: list(map(float, re.findall(r"\d\.\d{3}", title))) for title in titles[1:]}
        # General and Specific by magnitudes, then by complex differences.
        assert found["2 mean - x"][:2] == [0, 0]
        assert found["turned by 180 degrees"][0] == found["shifted in a circle"][0] == 0
        assert found["brighter by 0.2"][1] == 0
        assert all(found[name][2] > 0.1 for name in list(found)[:4])
    else:
        magnitude, cured, beside = (float(title.split()[-1]) for title in titles[1:4])
        assert magnitude > 0.1
        assert max(cured, beside) < 0.005
