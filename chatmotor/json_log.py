# SPDX-License-Identifier: Apache-2.0
"""One JSON object per log line, for programs that collect logs.

Choose it in ``logging.cfg``: ``formatter=json``.  Control characters of a message
cannot forge a line: JSON escapes them.
"""

import json
import logging
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", "error"?}``; the time in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, without its line break."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)
