"""Conventions of the public interface: names, signatures, docstrings, sources, what importing does."""

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import blursim_jax

ROOT = Path(__file__).parent.parent
FUNCTIONS = ("blursim", "blursim_maps", "blursim_terms")
OPTIONS = {
    "alpha": 0.9,
    "sobel_kernel_size": 5,
    "spectrum": "magnitude",
    "normalization": "area",
    "data_range": 1.0,
    "channel_axis": None,
    "reduction": "mean",
}
LACKING = {"blursim": set(), "blursim_terms": {"alpha"}, "blursim_maps": {"alpha", "reduction"}}


def test_public_names() -> None:
    assert blursim_jax.__all__ == ["BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
    public = {n for n in vars(blursim_jax) if not n.startswith("_")}
    assert public == set(blursim_jax.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_with_the_same_defaults(name: str) -> None:
    parameters = inspect.signature(getattr(blursim_jax, name)).parameters
    images = ["predictions", "targets"]
    assert list(parameters) == images + [o for o in OPTIONS if o not in LACKING[name]]
    for option, parameter in list(parameters.items())[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == OPTIONS[option]
    for image in images:
        assert parameters[image].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_the_object_has_the_options_of_the_function() -> None:
    parameters = inspect.signature(blursim_jax.BlurSim).parameters
    assert {name: p.default for name, p in parameters.items()} == OPTIONS
    assert parameters["alpha"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "alpha")


@pytest.mark.parametrize("name", [*FUNCTIONS, "BlurSim"])
def test_docstrings_are_whole(name: str) -> None:
    doc = inspect.getdoc(getattr(blursim_jax, name))
    assert doc is not None
    sections = ["Args:", "Returns:", "Raises:", "References:", ">>> "]
    if name == "BlurSim":
        sections.remove("Returns:")
    places = [doc.index(section) for section in sections]
    assert places == sorted(places)
    arguments = re.findall(r"^    (\w+): ", doc[doc.index("Args:") : doc.index("Raises:")], re.MULTILINE)
    assert arguments == list(inspect.signature(getattr(blursim_jax, name)).parameters)


@pytest.mark.parametrize("path", sorted((ROOT / "blursim_jax").rglob("*.py")), ids=lambda p: p.name)
def test_source_files(path: Path) -> None:
    source = path.read_text()
    assert not re.search(r"^\s*assert ", source, re.MULTILINE), "a user's mistake is an exception, also under -O"
    assert not re.search(r"^\s*(import|from) torch", source, re.MULTILINE)
    if path.name in ("_taps.py", "_checks.py"):
        imports = set(re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE))
        assert imports <= {"math", "numbers", "typing"}, "plain Python, the same in both packages"


def test_importing_starts_nothing() -> None:
    """No computation, no other framework, no setting changed: JAX's backend is not even started."""
    code = (
        "import sys, jax; before = dict(jax.config.values); import blursim_jax; "
        "assert dict(jax.config.values) == before; "
        "assert not jax._src.xla_bridge.backends_are_initialized(); "
        "assert not {'torch', 'flax', 'optax', 'cv2', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


def test_the_package_is_typed() -> None:
    spec = importlib.util.find_spec("blursim_jax")
    assert spec is not None and spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").exists()
