"""Makes the virtual environment of the Python tests, or brings it up to date.

    python3 tests/support/venv.py <folder of the environment> <compiled library>

The requirements are installed when they, or the Python, have changed; the binding when its files or the
library have. Only one process at a time does it: others wait, and find it done. At the end the path of
the environment's Python is printed, as the last line.
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BINDING = CHECKOUT / "bindings" / "python"
REQUIREMENTS = BINDING / "tests" / "requirements.txt"


@contextlib.contextmanager
def lock(path):
    """Holds a lock that ends with this process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if os.name == "nt":
            import msvcrt

            # Tries for ten seconds, then raises; the environment takes longer.
            for attempt in range(60):
                try:
                    file.seek(0)
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError:
                    if attempt == 59:
                        raise
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(*parts):
    """A name for what goes into an installation: texts, and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else part.encode()
        total.update(b"%d " % len(data) + data)
    return total.hexdigest()


def binding_files():
    """What the binding's wheel is made from, besides the library."""
    files = [BINDING / name for name in ("pyproject.toml", "setup.py", "README.md")]
    return files + sorted(BINDING.glob("gamekeeper/*.py")) + [BINDING / "gamekeeper" / "py.typed"]


def stamp_is(stamp, wanted):
    return stamp.exists() and stamp.read_text() == wanted


def run(*command, **options):
    print("+", *command, file=sys.stderr, flush=True)
    # Nothing of it may reach the standard output: its last line is the answer.
    subprocess.run([str(part) for part in command], check=True, stdout=sys.stderr, **options)


def make(venv, library):
    python = venv / ("Scripts" if os.name == "nt" else "bin") / ("python.exe" if os.name == "nt" else "python")
    stamp, binding_stamp = venv / "requirements.stamp", venv / "binding.stamp"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]

    wanted = digest(sys.version, sys.executable, str(venv), REQUIREMENTS)
    if not stamp_is(stamp, wanted):
        shutil.rmtree(str(venv), ignore_errors=True)
        run(sys.executable, "-m", "venv", venv)
        run(*pip, "install", "--quiet", "-r", REQUIREMENTS)
        stamp.write_text(wanted)

    wanted = digest(library, *binding_files())
    if not stamp_is(binding_stamp, wanted):
        # Left behind by a build before, it would bring files back that are gone.
        shutil.rmtree(str(BINDING / "build"), ignore_errors=True)
        # The build tool is among the requirements: nothing is to be fetched again.
        run(
            *pip + ["install", "--quiet", "--no-deps", "--no-build-isolation", "--force-reinstall", BINDING],
            env=dict(os.environ, GAMEKEEPER_LIBRARY=str(library)),
        )
        binding_stamp.write_text(wanted)
    return python


def main():
    venv, library = (pathlib.Path(argument).absolute() for argument in sys.argv[1:])
    with lock(venv.parent / "venv.lock"):
        print(make(venv, library))


if __name__ == "__main__":
    main()
