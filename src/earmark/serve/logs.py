"""Log lines as JSON objects. Lines about requests have route, status, sizes and times, but no audio or token."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object per line, including the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line end."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def use_json_logs() -> None:
    """Write log lines of earmark, and warnings of the HTTP library, to standard output as JSON.

    Standard error is not used, because decoders written in C write to it.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("earmark").handlers = [handler]
    http = logging.getLogger("uvicorn.error")
    http.handlers, http.propagate = [handler], False
    http.setLevel(logging.WARNING)
