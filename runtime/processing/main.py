"""``hybrid dag-processor``: the process around the :class:`~runtime.processing.processor.DagProcessor`."""

from __future__ import annotations

import gc
import logging
import signal
import threading

from runtime.config import Settings
from runtime.config.parity import declare
from runtime.db.components import BEAT_SECONDS, DAG_PROCESSOR
from runtime.db.dags import DatabaseDagStore
from runtime.db.engine import open_database
from runtime.db.presence import Presence
from runtime.processing.errands import Errands
from runtime.processing.once import errand_options, make_processor

log = logging.getLogger(__name__)


def run_processor(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0. Raises :class:`HybridError` where it cannot begin."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = open_database(settings, "hybrid dag-processor")
    try:
        store = DatabaseDagStore(database, paused_at_creation=settings.core.dags_are_paused_at_creation)
        processor = make_processor(settings, store)
        presence = Presence(database, DAG_PROCESSOR, declared=declare(settings, DAG_PROCESSOR))
        log.info("watching %s", settings.core.dags_folder)
        gc.freeze()
        try:
            errands = Errands(database, errand_options(settings))
            processor.run(stop, duty=presence.beat, every=BEAT_SECONDS, errands=errands)
        finally:
            presence.end()
    finally:
        database.close()
    return 0
