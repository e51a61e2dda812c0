"""What the site takes from elsewhere in the repository, and what it leaves out of its theme."""

import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def on_config(config: Any) -> None:
    """Take the repository's address from `[project.urls]`, the one place that has it."""
    config.repo_url = tomllib.loads(PROJECT.read_text())["project"]["urls"]["Repository"]


def on_post_page(output: str, **_: Any) -> str:
    """Keep the link to the repository, without the script that asks GitHub for its stars: pages fetch nothing."""
    return output.replace('data-md-component="source"', "")


def on_post_template(output_content: str, **_: Any) -> str:
    """The same for the page of an unknown address."""
    return on_post_page(output_content)
