"""Conventions of the public interface, the same in both packages: names, signatures, docstrings, sources."""

import ast
import graphlib
import importlib.util
import inspect
import re
import tomllib
from collections.abc import Container
from pathlib import Path

import pytest
from frameworks import NAMES, Framework
from processes import ROOT, run_code

SOURCES = {name: ROOT / f"blursim_{name}" for name in NAMES}
PUBLIC = ["PRESETS", "BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
FUNCTIONS = ("blursim", "blursim_maps", "blursim_terms")
OPTIONS = {
    "alpha": 0.9,
    "sobel_kernel_size": 5,
    "spectrum": "magnitude",
    "normalization": "area",
    "data_range": None,
    "channel_axis": None,
    "reduction": "mean",
}
LACKING = {"blursim": set(), "blursim_terms": {"alpha"}, "blursim_maps": {"alpha", "reduction"}}


def test_public_names(framework: Framework) -> None:
    assert framework.package.__all__ == PUBLIC
    # What a new process has after using them all, where no test has imported more; `dir` may say less.
    code = f"""
import types, typing, blursim_{framework.name} as package
for name in package.__all__:
    getattr(package, name)
own = {{k: x for k, x in vars(package).items() if not isinstance(x, types.ModuleType) and not k.startswith("_")}}
print(*sorted(own.keys() - {{"TYPE_CHECKING"}}))
"""
    assert run_code(code).stdout.split() == sorted(PUBLIC)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_keywords_with_the_same_defaults(framework: Framework, name: str) -> None:
    parameters = inspect.signature(getattr(framework.package, name)).parameters
    images = ["predictions", "targets"]
    assert list(parameters) == [*images, *(o for o in OPTIONS if o not in LACKING[name]), "mask"]
    for option, parameter in list(parameters.items())[2:]:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default == OPTIONS.get(option)
    for image in images:
        assert parameters[image].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD


def test_the_object_has_the_options_of_the_function(framework: Framework) -> None:
    parameters = inspect.signature(framework.package.BlurSim).parameters
    assert {name: p.default for name, p in parameters.items()} == OPTIONS
    assert parameters["alpha"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "alpha")


def test_the_methods_of_the_object_take_the_images(framework: Framework) -> None:
    call = "__call__" if framework.name == "jax" else "forward"
    for method in (call, "terms", "maps"):
        parameters = inspect.signature(getattr(framework.package.BlurSim, method)).parameters
        assert list(parameters) == ["self", "predictions", "targets", "mask"]
        assert parameters["mask"].default is None


def test_the_version_is_that_of_the_distribution(framework: Framework) -> None:
    declared = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert declared is not None and framework.package.__version__ == declared[1]


def test_the_citation_names_version_and_licence_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = dict(re.findall(r"^(version|license): (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert cited == {"version": project["version"], "license": project["license"]}


@pytest.mark.parametrize("name", [*FUNCTIONS, "BlurSim"])
def test_docstrings_are_whole(framework: Framework, name: str) -> None:
    doc = inspect.getdoc(getattr(framework.package, name))
    assert doc is not None
    sections = ["Args:", "Returns:", "Raises:", "References:", "Examples:", ">>> "]
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


def all_sources(name: str) -> dict[str, str]:
    """Those of folders in it too, of which only one package has some."""
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(SOURCES[name].rglob("*.py"))}


# What the other framework has by itself: PyTorch has no sharded arrays without `torch.distributed`, which takes the
# functions as they are, and JAX has the schedules of Optax. The command is JAX's. XLA compiles complex numbers.
OWN_FILES = {
    "jax": {"sharding.py", "_layout.py", "_rows.py", "__main__.py"},
    "torch": {"schedules.py", "_complex.py"},
}


def test_both_packages_have_the_same_files() -> None:
    jax, torch = ({*sources(name)} - OWN_FILES[name] for name in NAMES)
    assert jax == torch


# The functions and classes that one of the siblings has by itself, and why.
ALLOWED = {
    # A TPU convolves. XLA fuses the weights of end pixels into what follows, and PyTorch writes them with the border.
    "_edges.py": {"smooth_by_slices", "smooth_by_convolution", "_weigh_ends", "_weights"},
    # JAX makes arrays of what it checks, and unwraps Flax variables; PyTorch compares devices, and refuses sparse and
    # nested tensors.
    "_images.py": {"Images", "unwrap", "_check_device", "_check_dense", "_name"},
    "_maps.py": {"_maps"},
    # A frozen dataclass and pytree; an nn.Module.
    "_module.py": {"__post_init__", "__call__", "tree_flatten_with_keys", "tree_unflatten"}
    | {"__init__", "__setattr__", "forward", "_apply", "extra_repr"},
    # XLA removes masks and passes that eager PyTorch would compute; types of JAX arrays may be sharded. `torch.compile`
    # is told what to write to memory.
    "_numerics.py": {"divide_where", "is_sharded", "bin_magnitude", "is_compiling", "in_memory"}
    | {
        "ScaledPlanes",
        "divide_above",
        "magnitude",
        "floored_sqrt_",
        "least_magnitude",
        "plane_mean",
        "plane_area",
        "has_symbolic_sizes",
        "is_tracing",
    }
    | {"_inf_for_zero"},
    # JAX derives all transforms from one rule; PyTorch needs each written out.
    "_planes.py": {"_compare_planes_jvp"}
    | {"_Compiled", "_Eager", "forward", "setup_context", "backward", "jvp", "vmap"}
    | {"_needs_gradient", "_unpack_duals", "_value_count", "_vjp", "_jvp", "_gradients_of", "_in_blocks"}
    | {"_values_and_gradients", "_mix_gradients"},
    # `torch.compile` traces sizes as symbols, which a search in Python would specialize.
    "_spectrum.py": {"_padded_area", "candidate_dft_sizes"},
    # A loop of XLA has a fixed step; a loop in Python may slice as it likes. JAX needs a rule of `vmap` for its loop.
    "_tiles.py": {"_in_blocks", "_Strips", "_at_once", "_by_strips", "match_vma"}
    | {"keep_freed_memory", "_set_thresholds", "_each_field", "row_slices", "join_strips", "add_strips"},
    # JAX transforms and pre-emphasizes in `_layout.py`; PyTorch de-emphasizes strip by strip.
    "_transforms.py": {"_mean", "rfft2", "PreEmphasized", "de_emphasized", "phase_floor", "_pre_emphasize"},
    # What the base classes require; PyTorch sums in float64, and its states know their options.
    "metrics.py": {"reset", "_add", "plot", "merge_state", "_load_from_state_dict", "_encode_options"}
    | {"_check_options", "_describe", "_apply", "_terms", "extra_repr"},
}


def definitions(source: str) -> list[str]:
    """The functions, classes and methods of a file, in order."""
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.append(node.name)
            methods = node.body if isinstance(node, ast.ClassDef) else []
            found += [x.name for x in methods if isinstance(x, ast.FunctionDef)]
    return found


@pytest.mark.parametrize("file", sorted({*sources("jax")} & {*sources("torch")}))
def test_siblings_have_the_same_functions_in_the_same_order(file: str) -> None:
    jax, torch = (definitions(sources(name)[file]) for name in NAMES)
    assert {*jax} ^ {*torch} == ALLOWED.get(file, set())
    common = {*jax} & {*torch}
    assert [x for x in jax if x in common] == [x for x in torch if x in common]


def imports(path: Path, modules: Container[str]) -> set[str]:
    """Which of these modules a file imports, at its top, inside functions, or for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else str(node.module) for name in names.values()}
    return {name for name in found if name in modules}


@pytest.mark.parametrize("name", NAMES)
def test_no_file_imports_itself_by_way_of_others(name: str) -> None:
    def module(path: Path) -> str:
        return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")

    files = {module(path): path for path in SOURCES[name].rglob("*.py")}
    graph = {module: imports(path, files) for module, path in files.items()}
    assert len(graph) > 10
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("file", ["_taps.py", "_checks.py", "_presets.py"])
def test_plain_files_are_the_same(file: str) -> None:
    content = sources("jax")[file]
    assert content == sources("torch")[file]
    imports = set(re.findall(r"^(?:import|from) (\w+)", content, re.MULTILINE))
    assert imports <= {"collections", "math", "numbers", "types", "typing"}


def test_formulas_stand_in_both_docstrings_alike() -> None:
    """From the first formula to the first argument nothing differs."""
    for file, start in (("_loss.py", "        BlurSim = (1 - alpha)"), ("_maps.py", "    For planes a and b of N")):
        parts = [
            text[text.index(start) : text.index("        predictions:")]
            for text in map(lambda n: sources(n)[file], NAMES)
        ]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("name", NAMES)
def test_sources(name: str) -> None:
    (other,) = set(NAMES) - {name}
    assert len(all_sources(name)) >= len(sources(name)) > 5
    for file, source in all_sources(name).items():
        assert not re.search(r"^\s*assert ", source, re.MULTILINE), "a user's mistake is an exception, also under -O"
        assert not re.search(rf"^\s*(import|from) (blursim_)?{other}", source, re.MULTILINE), file


# Errors that only one framework can meet, by how they begin.
OWN_ERRORS = {
    "jax": {
        ("TypeError", "{name}: expected an array without a mask"),
        ("TypeError", "{name}: expected float32, or float64 with jax_enable_x64"),
        # Python's own, of a lazy module.
        ("AttributeError", "module {__name__!r} has no attribute"),
    },
    "torch": {
        ("TypeError", "{name}: expected a dense torch.Tensor"),
        ("ValueError", "{name}: expected the device of predictions"),
        ("TypeError", "alpha: expected a real number or a torch.Tensor that is no Parameter"),
        # The states of a torchmetrics metric have no keys for options.
        ("ValueError", "{name}: expected the state of"),
        ("ValueError", "incoming_state: expected"),
        # Flax sets the attributes of a module anew.
        ("AttributeError", "{name}: the options of a metric are fixed"),
    },
}


def errors_raised(source: str) -> list[tuple[str, str]]:
    """Every error that a source raises: its type, and its message with the fields as they are written."""

    def message(node: ast.expr) -> str:
        assert isinstance(node, (ast.Constant, ast.JoinedStr)), "a message is written where it is raised"
        text = ast.unparse(node)
        return text.removeprefix("f").strip("\"'")

    raised = [node.exc for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)]
    return [(ast.unparse(x.func), message(x.args[0])) for x in raised if isinstance(x, ast.Call)]


def test_the_same_errors_are_raised_word_for_word() -> None:
    """But for those that only one framework can meet, each of which is there."""
    found = {}
    for name in NAMES:
        errors = {
            error
            for file, source in sources(name).items()
            if file not in {"_checks.py"} | OWN_FILES[name]
            for error in errors_raised(source)
        }
        own = {own: {e for e in errors if e[0] == own[0] and e[1].startswith(own[1])} for own in OWN_ERRORS[name]}
        assert all(own.values()), f"no longer in blursim_{name}: {[key for key, value in own.items() if not value]}"
        found[name] = errors - set().union(*own.values())
    assert found["jax"] == found["torch"]


def test_every_raise_is_read() -> None:
    source = "def f(x):\n    raise ValueError(\n        f'x: expected {1}, '\n        f'got {x!r}'\n    )\n"
    assert errors_raised(source) == [("ValueError", "x: expected {1}, got {x!r}")]
    texts = [text for name in NAMES for text in sources(name).values()]
    counted = sum(len(re.findall(r"^\s*raise \w+\(", text, re.MULTILINE)) for text in texts)
    assert counted == sum(map(len, map(errors_raised, texts))) > 10
