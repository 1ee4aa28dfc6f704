"""Loading plugins, each apart from the others: one that fails is a fault, and the rest go on."""

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from contracts.hosts import PluginFault
from services.plugin_agent.checking import check_agent_class
from services.plugin_agent.sources import FOLDER_SETTING, GROUP, BadPlugin, Plugin
from services.runtime.agent import BaseAgent

log = structlog.get_logger(__name__)

_LONGEST_ERROR = 2_000
_LONGEST_TRACEBACK = 8_000  # it travels with every announcement; its end says most


@dataclass(frozen=True, slots=True)
class Loaded:
    """Agent classes by type, in the order in which they were found, and what could not be loaded."""

    classes: dict[str, type[BaseAgent]]
    faults: tuple[PluginFault, ...]


def load_plugins(plugins: Iterable[Plugin]) -> Loaded:
    """Import every plugin and check every agent class of it. Of two with the same type the first one stays."""
    classes: dict[str, type[BaseAgent]] = {}
    owners: dict[str, Plugin] = {}
    faults: list[PluginFault] = []
    for plugin in plugins:
        found, failed = _load(plugin, owners)
        classes |= found
        owners |= dict.fromkeys(found, plugin)
        faults += failed
    if not classes:
        where = f"entry points {GROUP}; *.py files and folders with an __init__.py in {FOLDER_SETTING}"
        log.info("no plugins, so no agent types", faults=len(faults), looked_for=where)
    return Loaded(classes, tuple(faults))


def _load(plugin: Plugin, taken: Mapping[str, Plugin]) -> tuple[dict[str, type[BaseAgent]], list[PluginFault]]:
    try:
        candidates = plugin.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may do anything, SystemExit included
        return {}, [_fault(plugin, error)]
    classes: dict[str, type[BaseAgent]] = {}
    faults: list[PluginFault] = []
    for candidate in candidates:
        try:
            descriptor = check_agent_class(candidate, {**taken, **dict.fromkeys(classes, plugin)})
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            faults.append(_fault(plugin, error, candidate))
        else:
            classes[descriptor.agent_type] = candidate
            log.info("plugin loaded", plugin=plugin.name, source=plugin.source, agent_type=descriptor.agent_type)
    return classes, faults


def _fault(plugin: Plugin, error: BaseException, agent_class: type[BaseAgent] | None = None) -> PluginFault:
    # The interpreter's words for an error bear one that cannot tell about itself, and give a SyntaxError its line.
    said = str(error) if isinstance(error, BadPlugin) else "".join(traceback.format_exception_only(error)).strip()
    if agent_class is not None:
        said = f"{agent_class.__name__}: {said}"
    said = _sendable(said)[:_LONGEST_ERROR]
    whole = _sendable("".join(traceback.format_exception(error)))
    # A log for a console draws an exception with care, which takes minutes where its message is very long.
    end = whole[-_LONGEST_TRACEBACK:]
    shown: dict[str, Any] = {"exc_info": error} if end == whole else {"traceback": end}
    log.error("plugin not loaded", plugin=plugin.name, source=plugin.source, error=said, **shown)
    return PluginFault(plugin=plugin.name, source=plugin.source, error=said, traceback=end)


def _sendable(text: str) -> str:
    """Without what no encoding of text can hold."""
    return text.encode(errors="replace").decode()
