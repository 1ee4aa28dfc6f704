"""The stages of the Dockerfile and what each copies from the sources, read from its text."""

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Stage:
    """``copied`` is where each path of the sources goes; ``uses`` are the stages that something is copied from."""

    parent: str
    copied: dict[str, str] = field(default_factory=dict)
    uses: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


@cache
def stages() -> dict[str, Stage]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: dict[str, Stage] = {}
    stage, folder = Stage(""), {"": "/"}
    name = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        match line.split(maxsplit=1):
            case ["FROM", rest]:
                parent, _, name = rest.split()
                folder[name] = folder.get(parent, "/")
                stage = found[name] = Stage(parent)
            case ["WORKDIR", path]:
                folder[name] = path
            case ["COPY", rest]:
                _copy(stage, folder[name], rest)
            case ["ENTRYPOINT", command]:
                stage.entrypoint = json.loads(command)
            case ["CMD", command]:
                stage.command = json.loads(command)
    return found


def images() -> set[str]:
    """Stages that are images: those that say what to start, but are not only what others are made of."""
    return {name for name, stage in stages().items() if stage.command}


def chain(name: str) -> list[Stage]:
    """The stage and those that it is made from, itself first."""
    found = []
    while name in stages():
        found.append(stages()[name])
        name = found[-1].parent
    return found


def copied_into(name: str) -> dict[str, str]:
    """Path of the sources -> where it lies in the image."""
    return {source: place for stage in chain(name) for source, place in stage.copied.items()}


def needed_for(name: str) -> set[str]:
    """All paths of the sources that a build of this target reads."""
    found: set[str] = set()
    for stage in chain(name):
        found |= stage.copied.keys()
        for used in stage.uses:
            found |= needed_for(used)
    return found


def start_of(name: str) -> list[str]:
    """What a container of the image runs."""
    entrypoint = next(stage.entrypoint for stage in chain(name) if stage.entrypoint)
    return [*entrypoint, *stages()[name].command]


def _copy(stage: Stage, folder: str, rest: str) -> None:
    flags = re.findall(r"--(\S+)", rest)
    *sources, place = [word for word in rest.split() if not word.startswith("--")]
    if origin := [flag.removeprefix("from=") for flag in flags if flag.startswith("from=")]:
        stage.uses += origin
        return
    for source in sources:
        whole = PurePosixPath(folder, place)
        inside = place.endswith("/") and not (ROOT / source).is_dir()
        stage.copied[source] = str(whole / PurePosixPath(source).name if inside else whole)
