"""The package as a whole: its five laws, its public names, and its dependencies."""

import ast
import inspect
import pickle
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_type_hints

import pytest

import seedream_async
from seedream_async import SeedreamError, _errors
from seedream_async._later import Later


def words(text):
    return set(text.split())


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "seedream_async"
LAYERS = (
    {"_errors", "_later", "_version"},
    {
        *("_models", "_request", "_results", "_events", "_timeout", "_http"),
        *("_catalog", "_links", "_sniff", "_limits"),
    },
    {
        *("_wire", "_structuring", "_sse", "_refusals", "_meanings", "_doubt", "_diagnosis"),
        *("_retry", "_course", "_retrying"),
        *("_addresses", "_base64", "_inline_images", "_escapes", "_crc64", "_names", "_templates"),
        *("_sizes", "_rules", "_capabilities", "_validate", "_estimate", "_allowance", "_errand"),
        *("_pace", "_keys"),
    },
    {
        "_body",
        "_transport",
        "_link_transport",
        "_trouble",
        "_deadline",
        "_sessions",
        "_sockets",
        "_attempts",
        "_reporting",
        "_partfile",
        "_writing",
        "_threads",
        "_fetching",
        "_files",
        "_naming",
        "_fanout",
        "_answering",
        "_pulling",
        "_spending",
        "_traffic",
        "_gate",
        "_line",
        "_sharing",
        "_references",
        "_sources",
        "_encoding",
        "_saving",
        "_inbox",
        "_image_stream",
        "_generating",
        "_guests",
        "_streaming",
        "_calls",
        "_preparing",
        "_digests",
        "_flights",
        "_settings",
    },
    {"_client"},
)
OPTIONAL = {
    *("emulator", "batch", "cli", "ray", "redis", "opentelemetry", "pytest_plugin"),
    *("_conventions", "_real_requests"),
    *("starlette", "aiohttp_web", "_web"),
    *("_commands", "_doctor", "_progress", "__init__", "__main__"),
    *("_batch_command", "_batch_progress", "_demo", "_ledger_commands", "_verdicts"),
}
LAYER_OF = {module: number for number, layer in enumerate(LAYERS) for module in layer}
CORE = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in OPTIONAL)
PURE = [module for module in CORE if LAYER_OF.get(module, 9) <= 2]

# Modules that open, wait, draw lots or read a clock, and the names of theirs that do not.
IMPURE = words(
    """
    asyncio fcntl glob io multiprocessing os pathlib random secrets select selectors shutil
    signal socket ssl subprocess tempfile threading time urllib.request uuid
    """
)
HARMLESS = {"os.PathLike", "os.fspath", "pathlib.Path"}
DEFAULTS = {"asyncio.sleep", "random.random"}  # as the default of a parameter, not called
IMPURE_CALLS = words(
    """
    exists is_dir is_file mkdir monotonic now open perf_counter print read_bytes read_text
    sleep stat time today unlink utcnow write_bytes write_text
    """
)
TRANSPORTS = {"_body", "_transport", "_link_transport", "_trouble", "_sessions"}
OWNERS = {
    "aiohttp": TRANSPORTS,
    "yarl": TRANSPORTS,
    "tenacity": {"_course"},
    "cattrs": {"_structuring"},
    "PIL": {"_sources"},
    "fastcrc": {"_crc64"},
    "pybase64": {"_base64"},
}


def tree_of(module):
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def imports_of(module):
    """What *module* imports, as dotted names; those of the package start with a dot."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace("seedream_async", ".", 1) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            source = re.sub(r"^seedream_async\.?", ".", source)
            if source == ".":
                yield from (f".{alias.name}" for alias in node.names)
            else:
                yield source


def siblings_of(module):
    return {name.strip(".").partition(".")[0] for name in imports_of(module) if name[0] == "."}


def foreign_of(module):
    names = {name.partition(".")[0] for name in imports_of(module) if name[0] != "."}
    return names - sys.stdlib_module_names - {"attrs"}


def modules_loaded_by(code):
    """The modules that a fresh Python has loaded at the end of *code*."""
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", f"{report}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return set(done.stderr.split())


def public_classes():
    values = ((name, getattr(seedream_async, name)) for name in seedream_async.__all__)
    return [pytest.param(value, id=name) for name, value in values if isinstance(value, type)]


def errors_below(kind):
    return [kind, *(error for child in kind.__subclasses__() for error in errors_below(child))]


@pytest.mark.parametrize("module", CORE)
def test_every_module_has_a_layer(module):
    """A new module is given its place in the picture, in the design and here."""
    assert module in LAYER_OF


@pytest.mark.parametrize("module", CORE)
def test_arrows_point_down(module):
    """A module imports from its own layer and those below, also for type checkers."""
    above = {name for name in siblings_of(module) if LAYER_OF.get(name, 9) > LAYER_OF[module]}

    assert not above


def test_no_cycles():
    """The modules of the core can be put in an order in which each imports only earlier ones."""
    order = [*TopologicalSorter({module: siblings_of(module) for module in CORE}).static_order()]

    assert set(CORE) <= set(order)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_import_no_doors(module):
    """Layers 0 to 2 import of the modules that open or wait only names that do neither."""
    tree = tree_of(module)
    defaults = {
        ast.unparse(default)
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for default in (*node.defaults, *node.kw_defaults)
        if default is not None
    }
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in IMPURE and not node.level
        for alias in node.names
    }
    used = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in IMPURE
    }

    assert (imported | used) - HARMLESS <= DEFAULTS & defaults


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_call_no_doors(module):
    """Layers 0 to 2 open nothing, sleep never, and are told the time."""
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
    }

    assert not called & IMPURE_CALLS


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_have_no_coroutines_but_the_loop(module):
    """Only the retry loop of layers 0 to 2 awaits anything: what it is handed."""
    coroutines = [n.name for n in ast.walk(tree_of(module)) if isinstance(n, ast.AsyncFunctionDef)]

    assert coroutines == {"_retrying": ["run"], "_course": ["go_on"]}.get(module, [])


@pytest.mark.parametrize("module", [module for module in CORE if module != "_client"])
def test_every_library_has_one_owner(module):
    """A third-party library other than attrs is imported by its owner alone."""
    assert foreign_of(module) <= {name for name, owners in OWNERS.items() if module in owners}


def test_the_client_names_a_session_and_no_more():
    """`_client` mentions aiohttp only as `aiohttp.ClientSession`, and only in signatures."""
    tree = tree_of("_client")
    annotations = [
        node.annotation for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation
    ]
    named = [
        ast.unparse(node)
        for annotation in annotations
        for node in ast.walk(annotation)
        if isinstance(node, ast.Attribute)
    ]
    mentions = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "aiohttp"]

    assert foreign_of("_client") == {"aiohttp"}
    assert [name for name in named if name.startswith("aiohttp.")] == ["aiohttp.ClientSession"] * (
        len(mentions)
    )


@pytest.mark.parametrize("module", CORE)
def test_options_point_in(module):
    """The core imports none of the parts beside it."""
    assert not siblings_of(module) & OPTIONAL


def test_importing_the_package_loads_nothing_else():
    """`import seedream_async` is free: every dependency waits until a name is used."""
    loaded = modules_loaded_by("import seedream_async")

    assert "seedream_async" in loaded
    assert not loaded & {"aiohttp", "attr", "cattrs", "tenacity", "rich", "PIL", "asyncio"}
    assert {name for name in loaded if name.startswith("seedream_async.")} == {
        "seedream_async._version"
    }


def test_using_the_client_loads_no_option():
    """A program that generates images loads neither the emulator nor the command."""
    loaded = modules_loaded_by("from seedream_async import AsyncSeedream")

    assert "seedream_async._client" in loaded
    assert not loaded & {"rich", "PIL", "argparse", "aiohttp.web", "redis", "pyrate_limiter"}
    assert not loaded & {"starlette", "fastapi", "anyio", "pydantic"}
    assert not loaded & {f"seedream_async.{name}" for name in OPTIONAL}


@pytest.mark.parametrize(
    ("module", "others"),
    [
        pytest.param("starlette", {"fastapi", "aiohttp.web", "uvicorn"}, id="starlette"),
        pytest.param("aiohttp_web", {"starlette", "anyio"}, id="aiohttp.web"),
    ],
)
def test_a_framework_loads_no_other(module, others):
    """The module for one framework loads neither another nor a server."""
    loaded = modules_loaded_by(f"import seedream_async.{module}")

    assert f"seedream_async.{module}" in loaded
    assert not loaded & others


def test_help_loads_no_aiohttp():
    """`seedream --help` need not wait for aiohttp."""
    loaded = modules_loaded_by(
        "import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('seedream_async')"
    )

    assert "seedream_async.cli" in loaded
    assert not loaded & {"aiohttp", "attr", "cattrs", "tenacity", "rich", "PIL"}


def test_help_loads_nothing_slow():
    """`seedream --help` waits for little more than argparse: not even for asyncio or typing."""
    least = modules_loaded_by("import argparse")  # and what coverage needs, if it looks on

    loaded = modules_loaded_by("import seedream_async.cli as cli; cli.main(['--help'])")

    assert "seedream_async.cli" in loaded
    assert not (loaded - least) & {"asyncio", "typing", "importlib.metadata", "json"}


def test_a_client_loads_nothing_rare():
    """What few programs need is not loaded before it is used."""
    rare = words(
        "_escapes _diagnosis _inline_images _streaming _naming _templates _sources _flights"
    )

    loaded = modules_loaded_by("from seedream_async import AsyncSeedream as C; C(api_key='k')")

    assert "seedream_async._client" in loaded
    assert not loaded & {f"seedream_async.{module}" for module in rare}
    assert not loaded & {"html", "seedream_async._encoding", "tenacity"}


def test_what_is_loaded_later_is_the_module_itself():
    """A stand-in hands out the very things of its module, and has no others."""
    assert Later("_errors").SeedreamError is SeedreamError
    with pytest.raises(AttributeError, match="Nope"):
        Later("_errors").Nope  # noqa: B018


def test_type_checkers_see_the_public_names():
    """What is imported for type checkers is what `__all__` lists, in order."""
    checked = [
        alias.asname or alias.name
        for node in tree_of("__init__").body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for alias in statement.names
    ]

    assert sorted(checked) == seedream_async.__all__


@pytest.mark.parametrize("name", seedream_async.__all__)
def test_public_names_are_documented(name):
    """Every public name can be had, and explains itself."""
    assert inspect.getdoc(getattr(seedream_async, name))


@pytest.mark.parametrize("public", public_classes())
def test_public_classes_say_where_they_are_imported_from(public):
    """A traceback and a repr name the path that users import from."""
    assert public.__module__ == "seedream_async"
    assert vars(public)["__doc__"]


@pytest.mark.parametrize("public", public_classes())
def test_annotations_resolve(public):
    """Libraries that read annotations at run time can read those of every public class."""
    hints = get_type_hints(public)

    assert set(hints) >= set(inspect.get_annotations(public))


def test_dir_lists_every_public_name():
    """Completion in a shell offers all of `__all__`, once."""
    listed = dir(seedream_async)

    assert set(seedream_async.__all__) <= set(listed)
    assert len(listed) == len(set(listed))


def test_an_unknown_name_is_an_attribute_error():
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="module 'seedream_async' has no attribute 'Nope'"):
        seedream_async.Nope  # noqa: B018


def test_every_error_is_public_and_drawn():
    """The tree at the top of `_errors` and `__all__` hold every error there is."""
    names = {error.__name__ for error in errors_below(SeedreamError)}

    assert names <= set(seedream_async.__all__)
    assert names <= set(re.findall(r"\w+", _errors.__doc__))


def test_a_misspelt_fact_is_refused():
    """An error takes no fact that its class does not declare."""
    with pytest.raises(TypeError, match="SeedreamError has no attribute 'colour'"):
        SeedreamError("no", colour="red")


@pytest.mark.parametrize("error", errors_below(SeedreamError))
def test_errors_survive_pickling(error):
    """A pickled error keeps its message, facts and notes, but neither image nor response."""
    names = {name for kind in error.__mro__[:-1] for name in inspect.get_annotations(kind)}
    facts = {name: f"the {name}" for name in names}
    original = error("it failed", **facts)
    original.add_note("gave up after attempt 5")

    copies = [
        pickle.loads(pickle.dumps(original, protocol))  # noqa: S301
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]

    kept = {name: fact for name, fact in facts.items() if name not in ("image", "response")}
    for copy in copies:
        assert type(copy) is error
        assert str(copy) == "it failed"
        assert vars(copy) == {**kept, "__notes__": ["gave up after attempt 5"]}


def test_the_four_dependencies():
    """A user installs aiohttp, attrs, cattrs and tenacity; aiohttp above its security floor."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    floors = dict(requirement.split(">=") for requirement in project["dependencies"])

    assert set(floors) == {"aiohttp", "attrs", "cattrs", "tenacity"}
    assert tuple(map(int, floors["aiohttp"].split("."))) >= (3, 14, 4)
