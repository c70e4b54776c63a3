"""Runs C compilers for tests, once for each input: what they made is kept outside of the repository.

In a guest of `tests/matrix` nothing is compiled: it would take half a minute. The host does it on request.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probee-tests" / "compiled"
REQUESTS = Path("/run/probee-matrix/compile")  # in a guest


def compiled(command: Sequence[str], files: Mapping[str, str], output: str) -> bytes:
    """What `command` writes to `output` when it is run in a directory with just `files` (name -> text).

    Raises FileNotFoundError if the compiler isn't there, subprocess.CalledProcessError if it refuses.
    """
    compiler = shutil.which(command[0])
    if compiler is None:
        raise FileNotFoundError(command[0])
    facts = os.stat(os.path.realpath(compiler))
    version = [os.path.realpath(compiler), facts.st_size, int(facts.st_mtime)]
    request = json.dumps([version, list(command), dict(files), output])
    key = hashlib.sha256(request.encode()).hexdigest()
    kept = CACHE / key[:2] / key
    try:
        return kept.read_bytes()
    except OSError:
        pass
    if "PROBEE_MATRIX" in os.environ and REQUESTS.is_dir():
        return _ask(key, request, command)
    made = _run(command, files, output)
    kept.parent.mkdir(parents=True, exist_ok=True)
    _write(kept, made)
    return made


def _run(command: Sequence[str], files: Mapping[str, str], output: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="probee-compile-") as directory:
        for name, text in files.items():
            Path(directory, name).write_text(text)
        done = subprocess.run(command, cwd=directory, stderr=subprocess.PIPE, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, list(command), stderr=done.stderr)
        return Path(directory, output).read_bytes()


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}.part")
    fresh.write_bytes(data)
    fresh.rename(path)


def _ask(key: str, request: str, command: Sequence[str]) -> bytes:
    _write(REQUESTS / f"{key}.request", request.encode())
    made, refused = REQUESTS / f"{key}.made", REQUESTS / f"{key}.refused"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if made.exists():
            return made.read_bytes()
        if refused.exists():
            raise subprocess.CalledProcessError(1, list(command), stderr=refused.read_text())
        time.sleep(0.02)
    raise TimeoutError(f"the host did not compile {key}")


def answer(requests: Path) -> None:
    """The host's side: compiles what guests have asked for in the directory `requests` since last time."""
    for path in requests.glob("*.request"):
        key = path.name.removesuffix(".request")
        _version, command, files, output = json.loads(path.read_bytes())
        path.unlink()
        try:
            _write(requests / f"{key}.made", compiled(command, files, output))
        except (OSError, subprocess.CalledProcessError) as error:
            _write(requests / f"{key}.refused", str(getattr(error, "stderr", None) or error).encode())
