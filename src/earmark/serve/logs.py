"""Log lines as JSON objects. A request is told by route, status, sizes and times: no sound, no token, no path."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any


class JsonFormatter(logging.Formatter):
    """One object a line; what a record carries as ``fields`` is part of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def use_json_logs() -> None:
    """Write this project's lines, and the warnings of the HTTP library, to standard output, as JSON.

    Not to standard error, where decoders written in C leave remarks of their own.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("earmark").handlers = [handler]
    http = logging.getLogger("uvicorn.error")
    http.handlers, http.propagate = [handler], False
    http.setLevel(logging.WARNING)
