"""Conventions of the public interface, the same in both packages: names, signatures, docstrings, sources."""

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from frameworks import NAMES, Framework

ROOT = Path(__file__).parent.parent
SOURCES = {name: ROOT / f"blursim_{name}" for name in NAMES}
PUBLIC = ["BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
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


def test_public_names(framework: Framework) -> None:
    assert framework.package.__all__ == PUBLIC
    # What is imported by its own name, if another test has.
    found = set(dir(framework.package)) - {"metrics", "schedules", "sharding"}
    assert {n for n in found if not n.startswith("_")} == set(PUBLIC)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_with_the_same_defaults(framework: Framework, name: str) -> None:
    parameters = inspect.signature(getattr(framework.package, name)).parameters
    images = ["predictions", "targets"]
    assert list(parameters) == images + [o for o in OPTIONS if o not in LACKING[name]]
    for option, parameter in list(parameters.items())[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == OPTIONS[option]
    for image in images:
        assert parameters[image].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_the_object_has_the_options_of_the_function(framework: Framework) -> None:
    parameters = inspect.signature(framework.package.BlurSim).parameters
    assert {name: p.default for name, p in parameters.items()} == OPTIONS
    assert parameters["alpha"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "alpha")


@pytest.mark.parametrize("name", [*FUNCTIONS, "BlurSim"])
def test_docstrings_are_whole(framework: Framework, name: str) -> None:
    doc = inspect.getdoc(getattr(framework.package, name))
    assert doc is not None
    sections = ["Args:", "Returns:", "Raises:", "References:", ">>> "]
    if name == "BlurSim":
        sections.remove("Returns:")
    places = [doc.index(section) for section in sections]
    assert places == sorted(places)
    arguments = re.findall(r"^    (\w+): ", doc[doc.index("Args:") : doc.index("Raises:")], re.MULTILINE)
    assert arguments == list(inspect.signature(getattr(framework.package, name)).parameters)


def test_the_named_tuples_have_the_same_fields(framework: Framework) -> None:
    assert framework.package.BlurSimTerms._fields == ("general", "specific")
    assert framework.package.BlurSimMaps._fields == ("spectrum", "edges")


def test_the_package_is_typed(framework: Framework) -> None:
    spec = importlib.util.find_spec(framework.package.__name__)
    assert spec is not None and spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").exists()


# What follows reads sources, and needs neither framework.


def sources(name: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(SOURCES[name].glob("*.py"))}


# What the other framework has by itself: PyTorch has no sharded arrays without `torch.distributed`, which takes the
# functions as they are, and JAX has the schedules of Optax. The command is JAX's.
OWN_FILES = {"jax": {"sharding.py", "_rows.py", "__main__.py"}, "torch": {"schedules.py"}}


def test_both_packages_have_the_same_files() -> None:
    jax, torch = ({*sources(name)} - OWN_FILES[name] for name in NAMES)
    assert jax == torch


@pytest.mark.parametrize("file", ["_taps.py", "_checks.py"])
def test_plain_files_are_the_same(file: str) -> None:
    content = sources("jax")[file]
    assert content == sources("torch")[file]
    imports = set(re.findall(r"^(?:import|from) (\w+)", content, re.MULTILINE))
    assert imports <= {"math", "numbers", "typing"}


def test_formulas_stand_in_both_docstrings_alike() -> None:
    """From the first formula to the first argument nothing differs."""
    for file, start in (("_loss.py", "        BlurSim = (1 - alpha)"), ("_maps.py", "    For a plane pair")):
        parts = [
            text[text.index(start) : text.index("        predictions:")]
            for text in map(lambda n: sources(n)[file], NAMES)
        ]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("name", NAMES)
def test_sources(name: str) -> None:
    (other,) = set(NAMES) - {name}
    for file, source in sources(name).items():
        assert not re.search(r"^\s*assert ", source, re.MULTILINE), "a user's mistake is an exception, also under -O"
        assert not re.search(rf"^\s*(import|from) (blursim_)?{other}", source, re.MULTILINE), file


def test_the_same_errors_are_raised_by_name() -> None:
    """Every error of the one package stands word for word in the other, but for what only one framework can meet."""
    own = {
        "jax": {"expected an array without a mask", "expected float32, or float64 with jax_enable_x64"},
        "torch": {"expected a dense torch.Tensor", "expected the device of predictions"},
    }
    for name in NAMES:
        raised = set()
        for file, source in sources(name).items():
            if file not in {"_checks.py"} | OWN_FILES[name]:
                raised |= set(re.findall(r'raise \w+\(f?"\{?\w+\}?: ([^,"{]*[^,"{ ])', source))
        found = {message for message in raised if not any(o.startswith(message) or message in o for o in own[name])}
        assert not found, f"only in blursim_{name}: {found}"
