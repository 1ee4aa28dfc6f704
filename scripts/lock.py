"""Write the lock files from pyproject.toml: every version pinned, every file hashed, for every platform.

    python scripts/lock.py              keeps the versions that still fit, adds and removes what changed
    python scripts/lock.py --upgrade    takes the newest versions that fit

Needs uv on the PATH (``pip install uv``). pip and uv both install from what it writes.
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.11"
DEVELOPMENT_LOCK = Path("requirements-dev.lock")
RUNTIME_LOCK = Path("requirements.lock")
SERVICES_FOLDER = Path("requirements")
NOT_SERVICES = {"all", "benchmarks", "dev", "embedded", "mongodb", "postgres", "store"}


def targets(extras: list[str]) -> dict[Path, str]:
    """Lock file -> the extra it locks; the development lock first, since the others take its versions. Beside the
    services there is ``image``: what every image has."""
    services = {SERVICES_FOLDER / f"{extra.replace('-', '_')}.lock": extra for extra in extras}
    services = {path: extra for path, extra in services.items() if extra not in NOT_SERVICES}
    return {DEVELOPMENT_LOCK: "dev", RUNTIME_LOCK: "all", **services}


def compile_command(uv: str, output: Path, extra: str, upgrade: bool) -> list[str]:
    command = [uv, "pip", "compile", "pyproject.toml", "--extra", extra, "--output-file", str(output)]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes", "--quiet"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--no-annotate"]
    command += ["--custom-compile-command", "python scripts/lock.py"]
    if output != DEVELOPMENT_LOCK:
        command += ["--constraint", str(DEVELOPMENT_LOCK)]
    return [*command, "--upgrade"] if upgrade else command


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    options = parser.parse_args()
    uv = shutil.which("uv")
    if uv is None:
        print("uv is not on the PATH: pip install uv", file=sys.stderr)
        return 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (ROOT / SERVICES_FOLDER).mkdir(exist_ok=True)
    for output, extra in targets(list(project["optional-dependencies"])).items():
        print(f"{output} ...", flush=True)
        done = subprocess.run(compile_command(uv, output, extra, options.upgrade), cwd=ROOT, check=False)
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
