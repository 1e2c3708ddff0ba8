"""The declarations are the C header's, and the right library is found."""

import ctypes
import os
import pathlib
import re
import subprocess
import sys

import pytest

import gamekeeper
from gamekeeper import _codes, _ffi

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
HEADER = CHECKOUT / "include" / "gamekeeper.h"
COMPILER = os.environ.get("CC", "cc")


@pytest.fixture(scope="module")
def header():
    """The header without its comments."""
    text = HEADER.read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return re.sub(r"//[^\n]*", " ", text)


def test_functions(header):
    """Every function of the header, with as many parameters, and no other."""
    found = {}
    for name, parameters in re.findall(r"\b(gk_\w+)\s*\(([^()]*)\)\s*;", header):
        found[name] = 0 if parameters.strip() in ("", "void") else parameters.count(",") + 1
    assert len(found) > 80
    assert found == {name: len(arguments) for name, (_, arguments) in _ffi.DECLARATIONS.items()}


def test_constants(tmp_path, header):
    """Every constant has the value that the C compiler sees, and none is missing here."""
    ours = {name: value for name, value in vars(_codes).items() if name.startswith("GK_")}
    lines = ['printf("{0} %lld\\n", (long long)({0}));'.format(name) for name in sorted(ours)]
    theirs = compile_and_run(tmp_path, lines)
    assert {name: int(value) % 2**64 for name, value in theirs} == {n: v % 2**64 for n, v in ours.items()}
    defined = set(re.findall(r"#define\s+(GK_\w+)\s+\S", header))
    unknown = {name for name in defined - set(ours) if not name.startswith("GK_VERSION")}
    assert not unknown, "the header has more"


def test_layout(tmp_path):
    """Every structure has the size and the offsets that the C compiler sees."""
    lines, ours = [], []
    for struct in _ffi.STRUCTURES:
        name = struct.__name__
        lines.append('printf("{0} %zu\\n", sizeof({0}));'.format(name))
        ours.append((name, ctypes.sizeof(struct)))
        for field, _ in struct._fields_:
            lines.append('printf("{0}.{1} %zu\\n", offsetof({0}, {1}));'.format(name, field))
            ours.append(("{}.{}".format(name, field), getattr(struct, field).offset))
    theirs = [(name, int(value)) for name, value in compile_and_run(tmp_path, lines)]
    assert theirs == ours


def compile_and_run(folder, lines):
    source, program = folder / "probe.c", folder / "probe"
    source.write_text(
        '#include <stddef.h>\n#include <stdio.h>\n#include "gamekeeper.h"\nint main(void) {{\n{}\nreturn 0;\n}}\n'.format(
            "\n".join(lines)
        )
    )
    command = [COMPILER, "-std=c99", "-I", str(HEADER.parent), str(source), "-o", str(program)]
    subprocess.run(command, check=True)
    output = subprocess.run([str(program)], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    return [tuple(line.split()) for line in output.splitlines()]


@pytest.mark.parametrize("init", _ffi.INITIALISED)
def test_sizes(init):
    """The library knows no other size for a structure that the caller makes."""
    made = _ffi.INITIALISED[init]()
    size = ctypes.sizeof(made)
    _ffi.check(getattr(_ffi.lib, init)(ctypes.byref(made), size))
    assert made.struct_size == size
    with pytest.raises(gamekeeper.ArgumentError):
        _ffi.check(getattr(_ffi.lib, init)(ctypes.byref(made), 2))


def test_errors_carry_the_librarys_words():
    with pytest.raises(gamekeeper.ArgumentError) as caught:
        _ffi.check(_ffi.lib.gk_context_new(None))
    assert caught.value.code == _codes.GK_ERR_NULL and len(str(caught.value)) > 5
    with pytest.raises(gamekeeper.ArgumentError) as caught:
        gamekeeper.ServerContext(gamekeeper.EventHandler()).setConnectionTimeout(1e5)
    assert "timeout" in str(caught.value) and "100000" in str(caught.value)


def test_versions_agree():
    assert _ffi.lib.gk_version_str().decode() == gamekeeper.__version__
    major, minor, patch = (int(part) for part in gamekeeper.__version__.split("-")[0].split("."))
    assert _ffi.lib.gk_version() == major << 16 | minor << 8 | patch
    manifest = (CHECKOUT / "Cargo.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.*)"$', manifest, re.MULTILINE).group(1) == gamekeeper.__version__


def import_with(library):
    """Imports the package in a process of its own, which is told this library; gives its last line."""
    environment = dict(os.environ, GAMEKEEPER_LIBRARY=str(library))
    run = subprocess.run(
        [sys.executable, "-c", "import gamekeeper; print('imported')"],
        env=environment,
        cwd=str(pathlib.Path(gamekeeper.__file__).parents[1]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    return run.stdout.splitlines()[-1]


def stub(folder, version):
    """A library that only has a version."""
    source, library = folder / "stub.c", folder / "stub.so"
    source.write_text('const char *gk_version_str(void) {{ return "{}"; }}\n'.format(version))
    subprocess.run([COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return library


def test_a_library_of_another_version(tmp_path):
    line = import_with(stub(tmp_path, "9.8.7"))
    assert line.startswith("gamekeeper._ffi.LibraryError: ")
    assert "9.8.7" in line and gamekeeper.__version__ in line and "stub.so" in line


def test_no_library(tmp_path):
    missing = tmp_path / "missing.so"
    assert str(missing) in import_with(missing)
    assert "LibraryError" in import_with(missing)
    no_library = tmp_path / "text.so"
    no_library.write_text("no library")
    assert "cannot be loaded" in import_with(no_library)
    other = tmp_path / "other.c"
    other.write_text("int other(void) { return 0; }\n")
    subprocess.run([COMPILER, "-shared", "-fPIC", str(other), "-o", str(no_library)], check=True)
    assert "is not the gamekeeper library" in import_with(no_library)


def test_the_library_in_use():
    assert import_with(_ffi.find_library()) == "imported"
    assert issubclass(gamekeeper.LibraryError, ImportError)
