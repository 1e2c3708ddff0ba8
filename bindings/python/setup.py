"""Puts the compiled library into the package, and says so in the wheel's name.

The library is the file that the environment variable GAMEKEEPER_LIBRARY names, or else the one that cargo
builds from the checkout around this folder.
"""

import os
import shutil
import subprocess
import sys

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))

NAMES = {"win32": "gamekeeper.dll", "darwin": "libgamekeeper.dylib"}
NAME = NAMES.get(sys.platform, "libgamekeeper.so")


def library() -> str:
    """The compiled library's file."""
    chosen = os.environ.get("GAMEKEEPER_LIBRARY")
    if chosen:
        if not os.path.isfile(chosen):
            sys.exit("GAMEKEEPER_LIBRARY names {}, which does not exist".format(chosen))
        return chosen
    manifest = os.path.join(CHECKOUT, "Cargo.toml")
    if not os.path.isfile(manifest):
        sys.exit(
            "there is no gamekeeper checkout around {}: install from one, or set GAMEKEEPER_LIBRARY to the "
            "compiled library".format(HERE)
        )
    cargo = os.environ.get("CARGO", "cargo")
    try:
        subprocess.run([cargo, "build", "--release", "--lib", "--manifest-path", manifest], check=True)
    except FileNotFoundError:
        sys.exit("building gamekeeper needs Rust: {} was not found".format(cargo))
    except subprocess.CalledProcessError as error:
        sys.exit("cargo could not build gamekeeper (exit code {})".format(error.returncode))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(CHECKOUT, "target"))
    return os.path.join(target, "release", NAME)


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        # An editable install finds the library in the checkout's target folder.
        if not getattr(self, "editable_mode", False):
            folder = os.path.join(self.build_lib, "gamekeeper")
            os.makedirs(folder, exist_ok=True)
            shutil.copyfile(library(), os.path.join(folder, NAME))


class PlatformWheel(bdist_wheel):
    def finalize_options(self) -> None:
        super().finalize_options()
        # Not for every machine, but for every Python on this kind of machine.
        self.root_is_pure = False

    def get_tag(self):
        _, _, platform = super().get_tag()
        return "py3", "none", platform


setup(cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
