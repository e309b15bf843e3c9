"""Parts of ``/openapi.json`` that FastAPI cannot derive: bodies, errors, the token."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from earmark.serve.forms import DEFAULT_TOP_K, FUNCTIONS

_EXAMPLE = [{"label": "yes", "score": 0.97}, {"label": "no", "score": 0.02}]
_WHAT = {
    400: "invalid request",
    401: "missing or wrong token",
    408: "the request arrived too slowly",
    413: "the body is too large, or the recording too long",
    415: "unknown audio format",
    422: "the recording is damaged, or takes too long to decode",
    426: "this route only accepts WebSocket handshakes",
    429: "too many requests are waiting; retry after Retry-After seconds",
    503: "the server is stopping, or did not respond in time",
}
_ERROR_SCHEMA = {
    "type": "object",
    "description": "Body of every error.",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "error message, one line"}},
    "additionalProperties": False,
}
_ERROR_BODY = {
    "schema": {"$ref": "#/components/schemas/Error"},
    "example": {"error": "cut short: the header announces 1.000 s, but the file holds 0.030 s"},
}
_FUNCTION = "default: softmax; sigmoid for multi-label models, none for regression models"
_PARAMETERS = {
    "top_k": {"type": "integer", "minimum": 1, "default": DEFAULT_TOP_K},
    "function_to_apply": {"type": "string", "enum": list(FUNCTIONS), "description": _FUNCTION},
}
_FILE = {"type": "string", "format": "binary"}


def errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the responses of a route for these statuses and for any other error."""
    content = {"application/json": _ERROR_BODY}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHAT[status], "content": content} for status in statuses
    }
    return {**found, "default": {"description": "any other error", "content": content}}


def complete_schema(app: FastAPI, *, has_token: bool) -> None:
    """Add the error body to an application's schema, and the token if the server needs one."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = generate()
            components = schema.setdefault("components", {})
            components.setdefault("schemas", {})["Error"] = _ERROR_SCHEMA
            if has_token:
                components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                schema["security"] = [{"token": []}]
                for path in OPEN_PATHS & schema["paths"].keys():
                    for operation in schema["paths"][path].values():
                        operation["security"] = []
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # FastAPI's documented way to extend a schema


OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})  # never need the token

_YES: dict[int | str, dict[str, Any]] = {
    200: {"description": "yes", "content": {"application/json": {"example": {"status": "ok"}}}}
}
STATUS = _YES | errors()

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "classes, most likely first",
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["label", "score"],
                        "properties": {
                            "label": {"type": "string"},
                            "score": {"type": "number"},
                            "below_threshold": {
                                "type": "string",
                                "description": "in the first entry only: the most likely class, if its probability is "
                                "below the model's threshold; label is then another label, score is that probability",
                            },
                        },
                    },
                },
                "example": _EXAMPLE,
            }
        },
    }
}

_TIMELINE_PARAMETERS = {
    "top_k": _PARAMETERS["top_k"],
    "window_seconds": {"type": "number", "description": "length of a window (default: the model's input length)"},
    "hop_seconds": {"type": "number", "description": "distance between windows (default: their length)"},
    "threshold": {
        "type": "number",
        "default": 0.5,
        "description": "a segment starts at this probability, or at the model's own threshold if higher",
    },
    "release": {"type": "number", "description": "a segment ends below this probability (default: the threshold)"},
    "smooth_windows": {"type": "integer", "default": 1, "description": "number of windows to average, an odd number"},
    "merge_gap_s": {
        "type": "number",
        "default": 0,
        "description": "largest gap between segments of a class that are merged",
    },
    "min_duration_s": {"type": "number", "default": 0, "description": "shorter segments are removed"},
    "include_background": {
        "type": "boolean",
        "default": False,
        "description": "whether to return segments of background classes (silence, noise, unknown etc.)",
    },
}

_TIMELINE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "windows and segments, and scores of the whole recording",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "duration_s": 2.0,
                    "recording_rate_hz": 44100,
                    "task": "single_label",
                    "has_classes": True,
                    "scores": _EXAMPLE,
                    "omitted_classes": ["noise"],
                    "segments": [{"start_s": 0.0, "end_s": 1.0, "label": "yes", "score": 0.97}],
                    "windows": [{"start_s": 0.0, "end_s": 1.0, "scores": _EXAMPLE}],
                },
            }
        },
    }
}


def _request(parameters: dict[str, object], example: dict[str, object]) -> dict[str, object]:
    """Return the three forms of a body, and the settings in the query."""
    properties = {
        "inputs": {
            "type": "string",
            "format": "byte",
            "description": "the recording in base64; line breaks, the URL alphabet, missing padding and a data URI "
            "are accepted",
        },
        "parameters": {"type": "object", "properties": parameters, "additionalProperties": False},
    }
    json_form = {
        "schema": {
            "type": "object",
            "required": ["inputs"],
            "properties": {**properties, "options": {"type": "object", "description": "ignored"}},
            "additionalProperties": False,
        },
        "example": {"inputs": "UklGRiQAAABXQVZF...", "parameters": example},
    }
    form = {"type": "object", "required": ["file"], "properties": {"file": _FILE, **parameters}}
    return {
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in parameters.items()],
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": _FILE},
                "audio/*": {"schema": _FILE},
                "multipart/form-data": {"schema": form},
                "application/json": json_form,
            },
        },
    }


def _route(
    summary: str, description: str, answer: dict[int | str, dict[str, object]], request: dict[str, object]
) -> dict[str, object]:
    """Return a route that takes a recording."""
    responses = answer | errors(400, 401, 408, 413, 415, 422, 429, 503)
    return {"summary": summary, "description": description, "responses": responses, "openapi_extra": request}


CLASSIFY_SETTINGS = tuple(_PARAMETERS)
TIMELINE_SETTINGS = tuple(_TIMELINE_PARAMETERS)

CLASSIFY = _route(
    "Name the most likely classes of a recording",
    (
        "The body is the recording itself, a form with one file, or JSON as for Hugging Face's inference API. "
        "The format is detected from the bytes. A recording longer than the model's input is cut into "
        "windows, and its scores are the means over the windows."
    ),
    _ANSWER,
    _request(_PARAMETERS, {"top_k": 2, "function_to_apply": "softmax"}),
)

MODEL: dict[str, Any] = {
    "summary": "Describe the model",
    "responses": {
        200: {
            "description": "classes, limits, and content of decision.json (null without one)",
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {
                        "labels": ["no", "yes"],
                        "task": "single_label",
                        "sampling_rate_hz": 16000,
                        "max_window_s": 1.0,
                        "decision": None,
                    },
                }
            },
        }
    }
    | errors(401, 503),
}

TIMELINE = _route(
    "Find segments in a long recording",
    "Accepts the same bodies as /v1/classify.",
    _TIMELINE_ANSWER,
    _request(_TIMELINE_PARAMETERS, {"hop_seconds": 0.5, "threshold": 0.6}),
)

_STREAM_PARAMETERS = {
    "sampling_rate": {"type": "integer", "description": "sampling rate of the samples (default: the model's)"},
    "encoding": {"type": "string", "enum": ["s16le", "f32le"], "default": "s16le"},
    "window_seconds": _TIMELINE_PARAMETERS["window_seconds"],
    "hop_seconds": _TIMELINE_PARAMETERS["hop_seconds"],
    "top_k": _PARAMETERS["top_k"],
    "ticket": {"type": "string", "description": "ticket from POST /v1/stream-ticket, instead of the token"},
}
STREAM_SETTINGS = tuple(_STREAM_PARAMETERS)

STREAM: dict[str, Any] = {
    "summary": "Score windows while recording (WebSocket)",
    "description": (
        "Send binary messages of samples, one channel, at most 1 MiB each, and the text end. The result of each window "
        'is JSON text, {"start_s", "end_s", "scores"}; an error is {"error"} before the connection closes. Browsers '
        "offer the subprotocols earmark and earmark.bearer.TOKEN (base64url), or send a ticket."
    ),
    "status_code": 101,
    "responses": errors(400, 401, 426, 429, 503) | {101: {"description": "the stream is open"}},
    "openapi_extra": {
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _STREAM_PARAMETERS.items()]
    },
}

STREAM_TICKET: dict[str, Any] = {
    "summary": "Get a ticket that opens one stream",
    "description": "Browsers cannot send headers with a WebSocket, so they open /v1/stream?ticket=TICKET.",
    "responses": {
        200: {
            "description": "valid once, for a short time",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["ticket", "expires_in_s"],
                        "properties": {"ticket": {"type": "string"}, "expires_in_s": {"type": "number"}},
                    },
                    "example": {"ticket": "rDVaqL5cWOgb4U8qS1T1aS4oYb1cSt0E", "expires_in_s": 30.0},
                }
            },
        }
    }
    | errors(401, 429, 503),
}
