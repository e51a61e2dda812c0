"""The repository's address on the site, and what the site changes of its pages."""

import re
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# Their tables and outputs take the room of the table of contents.
WIDE = {"command_line.md", "reliability.md", "speed.md"}
CODE_OR_TAG = re.compile(
    r"(<pre\b.*?</pre>|<code\b.*?</code>|<svg.*?</svg>|<script.*?</script>"
    r"|<style.*?</style>|<[^>]*>)",
    re.DOTALL,
)
# Browsers break a line after a hyphen and at a space.
ONE_NUMBER = re.compile(
    r"[-+]?\d[\d.,]*"
    r"(?:e[-+]\d+| ± [\d.]+| ms, [\d.]+| to \d\.\d+| %| (?:dB|ms|MiB)\b)"
)
# That of a code block stands behind an empty span.
INLINE_CODE = re.compile(r"(?<!<span></span>)<code>([^<\n]+)</code>")
OPTION = re.compile(r"(?<!\S)(?=\S{1,38}(?!\S))\S*(?:-|\.\[)\S+")
API_NAME = re.compile(r'(<span class="doc doc-object-name[^>]*>)([^<]+)')


def on_config(config: Any) -> None:
    """Take the repository's address from `[project.urls]`, which alone has it."""
    config.repo_url = tomllib.loads(PROJECT.read_text())["project"]["urls"][
        "Repository"
    ]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leave out the table of contents where tables are wide."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    return markdown


def keep_options(code: re.Match[str]) -> str:
    """Code in a line of text: keep it on one line, or if it is long, its options."""
    if len(code[1]) <= 30:
        return f'<code class="one-line">{code[1]}</code>'
    options = OPTION.sub(r'<span class="one-line">\g<0></span>', code[1])
    return f"<code>{options}</code>"


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Keep options and numbers on one line, and mend the links of notebooks."""
    if page.file.src_uri.endswith(".ipynb"):
        html = re.sub(r'href="(\w+)\.(?:md|ipynb)(?=["#])', r'href="\1.html', html)
        html = html.replace(
            "No description has been provided for this image",
            "What the code above draws",
        )
    html = INLINE_CODE.sub(keep_options, html)
    # A name breaks after a dot or an underscore.
    html = API_NAME.sub(lambda x: x[1] + re.sub(r"([._])", r"\1<wbr>", x[2]), html)
    parts = CODE_OR_TAG.split(html)
    parts[::2] = [
        ONE_NUMBER.sub(r'<span class="one-line">\g<0></span>', text)
        for text in parts[::2]
    ]
    return "".join(parts)


def on_post_page(output: str, **_: Any) -> str:
    """Leave out the script that asks GitHub for stars: pages fetch nothing."""
    return output.replace('data-md-component="source"', "")


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page of an unknown address."""
    return on_post_page(output_content)
