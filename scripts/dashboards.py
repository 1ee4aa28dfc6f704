"""Make the Grafana dashboards in ``k8s/monitoring/dashboards`` from the panels in ``k8s/monitoring/panels``.

    python scripts/dashboards.py            write them
    python scripts/dashboards.py --check    say which are not what their panels would give, and fail

A file of panels is YAML::

    title: Agents
    description: What the dashboard is for.
    rows:
      - title: Work
        panels:
          - title: Steps that ended
            description: What one sees there.
            unit: ops                  # Grafana's name of a unit
            kind: timeseries           # or stat, bargauge, table
            width: 8                   # of 24
            queries:
              "{{action}} {{outcome}}": sum by (action) (rate(name{$where}[$__rate_interval]))

``$where`` stands for the dashboard's choices of namespace, job and instance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PANELS = ROOT / "k8s" / "monitoring" / "panels"
DASHBOARDS = ROOT / "k8s" / "monitoring" / "dashboards"

CHOICES = ("namespace", "job", "instance")
WHERE = ", ".join(f'{name}=~"${name}"' for name in CHOICES)
SCHEMA_VERSION = 38  # Grafana 10; later ones upgrade it as they load it
FULL_WIDTH = 24
HEIGHT = 8
STAT_HEIGHT = 4
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a dashboard is not up to date")
    check = parser.parse_args(arguments).check
    wanted = {DASHBOARDS / f"{path.stem}.json": rendered(path) for path in sorted(PANELS.glob("*.yaml"))}
    there = {path: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    stale = [path for path in {**wanted, **there} if wanted.get(path) != there.get(path)]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not what k8s/monitoring/panels gives: run python scripts/dashboards.py")
        elif path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 1 if check and stale else 0


def rendered(panels: Path) -> str:
    """The dashboard of a file of panels, as Grafana imports it."""
    content = yaml.safe_load(panels.read_text(encoding="utf-8"))
    return json.dumps(dashboard(panels.stem, content), indent=2, ensure_ascii=False) + "\n"


def dashboard(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"conclave-{name}",
        "title": f"Conclave / {content['title']}",
        "description": content["description"],
        "tags": ["conclave"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "annotations": {"list": []},
        "links": [_link_to_the_others()],
        "templating": {"list": list(_variables())},
        "panels": list(_panels(content["rows"])),
    }


def _panels(rows: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    number = y = 0
    for row in rows:
        number += 1
        position = {"x": 0, "y": y, "w": FULL_WIDTH, "h": 1}
        yield {
            "id": number,
            "type": "row",
            "title": row["title"],
            "collapsed": False,
            "gridPos": position,
            "panels": [],
        }
        y += 1
        x = tallest = 0
        for content in row["panels"]:
            number += 1
            height = STAT_HEIGHT if content.get("kind") == "stat" else HEIGHT
            if x + content["width"] > FULL_WIDTH:
                x, y, tallest = 0, y + tallest, 0
            yield _panel(number, content, {"x": x, "y": y, "w": content["width"], "h": height})
            x, tallest = x + content["width"], max(tallest, height)
        y += tallest


def _panel(number: int, content: Mapping[str, Any], position: Mapping[str, int]) -> dict[str, Any]:
    kind = content.get("kind", "timeseries")
    return {
        "id": number,
        "type": kind,
        "title": content["title"],
        "description": content["description"],
        "datasource": _DATASOURCE,
        "gridPos": position,
        "targets": [
            _target(chr(ord("A") + place), kind, legend, expression)
            for place, (legend, expression) in enumerate(content["queries"].items())
        ],
        "fieldConfig": {"defaults": _field_defaults(kind, content), "overrides": []},
        "options": _OPTIONS[kind],
        **({"transformations": [_ONE_ROW_EACH]} if kind == "table" else {}),
    }


def _target(reference: str, kind: str, legend: str, expression: str) -> dict[str, Any]:
    now = kind in ("table", "bargauge")
    return {
        "refId": reference,
        "datasource": _DATASOURCE,
        "editorMode": "code",
        "expr": " ".join(expression.replace("$where", WHERE).split()),
        "legendFormat": legend,
        "instant": now,
        "range": not now,
        "format": "table" if kind == "table" else "time_series",
    }


def _field_defaults(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for color, value in content.get("thresholds", {}).items()]
    defaults: dict[str, Any] = {
        "unit": content["unit"],
        "min": 0,
        "color": {"mode": "palette-classic" if kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if kind == "timeseries":
        stacked = "normal" if content.get("stacked") else "none"
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if content.get("stacked") else 8,
            "showPoints": "never",
            "stacking": {"mode": stacked, "group": "A"},
        }
    return defaults


_LATEST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "graphMode": "area",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "orientation": "auto",
        "reduceOptions": _LATEST,
    },
    "bargauge": {
        "displayMode": "basic",
        "valueMode": "color",
        "showUnfilled": True,
        "minVizWidth": 0,
        "minVizHeight": 10,
        "orientation": "horizontal",
        "reduceOptions": _LATEST,
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
_ONE_ROW_EACH = {"id": "merge", "options": {}}


def _variables() -> Iterator[dict[str, Any]]:
    yield {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "hide": 0}
    narrowed: list[str] = []
    for name in CHOICES:
        matchers = ", ".join(narrowed)
        query = f"label_values(conclave_process_threads{{{matchers}}}, {name})"
        yield {
            "type": "query",
            "name": name,
            "label": name.capitalize(),
            "datasource": _DATASOURCE,
            "query": {"query": query, "refId": f"choices-{name}"},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            # Not every scrape has every one of these labels; what has none matches too.
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "hide": 0,
        }
        narrowed.append(f'{name}=~"${name}"')


def _link_to_the_others() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Conclave",
        "icon": "external link",
        "tooltip": "",
        "url": "",
        "tags": ["conclave"],
        "asDropdown": True,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
