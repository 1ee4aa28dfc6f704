"""The plugin agent hosts agent types of installed packages (entry-point group ``conclave.agents``) and of the files in
PLUGIN_FOLDER.

It takes work as every agent service does, for each type that it found: from the type's queue, its quarantine and the
queues of the type's instances. Without plugins it runs all the same, and offers nothing.
"""

from faststream import FastStream

from services.plugin_agent.loading import load_plugins
from services.plugin_agent.sources import folder_plugins, installed_plugins
from services.runtime.bus.base import Bus
from services.runtime.faststream_app import configured_app
from services.runtime.hosting.host import hosting_service
from services.runtime.hosting.hosted import HostedType
from services.runtime.service import Service
from services.runtime.settings import Settings
from services.runtime.telemetry.telemetry import Telemetry

NAME = "plugin_agent"


def build(settings: Settings, bus: Bus, *, telemetry: Telemetry | None = None) -> Service:
    folder = [] if settings.plugin_folder is None else folder_plugins(settings.plugin_folder)
    loaded = load_plugins([*installed_plugins(), *folder])
    hosted = [HostedType(agent_class) for agent_class in loaded.classes.values()]
    return hosting_service(NAME, hosted, settings, bus, loaded.faults, apart=True, telemetry=telemetry)


def app() -> FastStream:
    """``faststream run services.plugin_agent.app:app --factory``"""
    return configured_app(NAME, build)
