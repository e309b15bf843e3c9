"""The parts of ``/openapi.json`` that FastAPI cannot know: bodies that are read by hand, errors, the token."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from earmark.serve.forms import DEFAULT_TOP_K, FUNCTIONS

_EXAMPLE = [{"label": "yes", "score": 0.97}, {"label": "no", "score": 0.02}]
_WHAT = {
    400: "the request is broken",
    401: "no token, or another one",
    408: "the request came too slowly",
    413: "the body is too large, or the recording too long",
    415: "not a recording in a known format",
    422: "the recording is broken, or takes too long to decode",
    426: "this route takes WebSocket handshakes only",
    429: "too many requests are waiting: come back after Retry-After seconds",
    503: "the server is about to stop, or did not answer in time",
}
_ERROR_SCHEMA = {
    "type": "object",
    "description": "Every error of every route has this body.",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "what is wrong, in one line"}},
    "additionalProperties": False,
}
_ERROR_BODY = {
    "schema": {"$ref": "#/components/schemas/Error"},
    "example": {"error": "cut short: the header announces 1.000 s, 0.030 s are there"},
}
_FUNCTION = "unless given: softmax; sigmoid of a model of several labels, none of one that answers a number"
_PARAMETERS = {
    "top_k": {"type": "integer", "minimum": 1, "default": DEFAULT_TOP_K},
    "function_to_apply": {"type": "string", "enum": list(FUNCTIONS), "description": _FUNCTION},
}
_FILE = {"type": "string", "format": "binary"}


def errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the responses of a route for these statuses, and for any other error."""
    content = {"application/json": _ERROR_BODY}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHAT[status], "content": content} for status in statuses
    }
    return {**found, "default": {"description": "any other error", "content": content}}


def complete_schema(app: FastAPI, *, has_token: bool) -> None:
    """Add to the schema of an application the body of errors, and the token if the server asks for one."""
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

    app.openapi = openapi  # FastAPI's own way to extend a schema


OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json"})  # never ask for the token

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
                                "description": "first only: the most likely class, where its probability, the score, "
                                "is below the model's threshold, and the label stands for that",
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
    "window_seconds": {"type": "number", "description": "length of a window (default: what the model takes)"},
    "hop_seconds": {"type": "number", "description": "from window to window (default: the length)"},
    "threshold": {
        "type": "number",
        "default": 0.5,
        "description": "a class is heard from this probability on, or the model's own threshold if higher",
    },
    "release": {"type": "number", "description": "and until it falls below this (default: the threshold)"},
    "smooth_windows": {"type": "integer", "default": 1, "description": "windows averaged first, an odd number"},
    "merge_gap_s": {"type": "number", "default": 0, "description": "segments of a class so near become one"},
    "min_duration_s": {"type": "number", "default": 0, "description": "shorter segments are left out"},
    "include_background": {
        "type": "boolean",
        "default": False,
        "description": "also segments of background classes (silence, noise, unknown and the like)",
    },
}

_TIMELINE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "what is heard when, and in the whole recording",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "duration_s": 2.0,
                    "recording_rate_hz": 44100,
                    "task": "single_label",
                    "has_classes": True,
                    "scores": _EXAMPLE,
                    "segments": [{"start_s": 0.0, "end_s": 1.0, "label": "yes", "score": 0.97}],
                    "windows": [{"start_s": 0.0, "end_s": 1.0, "scores": _EXAMPLE}],
                },
            }
        },
    }
}


def _request(parameters: dict[str, object], example: dict[str, object]) -> dict[str, object]:
    """Return the three forms of a body, and the same settings in the query."""
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
        "The body is the recording itself, a form with one file, or JSON as Hugging Face's inference API takes it. "
        "Its format is found out from the bytes. A recording longer than the model hears at a time is cut into "
        "windows, and the scores are their mean."
    ),
    _ANSWER,
    _request(_PARAMETERS, {"top_k": 2, "function_to_apply": "softmax"}),
)

MODEL: dict[str, Any] = {
    "summary": "What the model is, and how it answers",
    "responses": {
        200: {
            "description": "classes, limits, and what decision.json says (null without one)",
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
    "What is heard when in a long recording",
    "Bodies as for /v1/classify.",
    _TIMELINE_ANSWER,
    _request(_TIMELINE_PARAMETERS, {"hop_seconds": 0.5, "threshold": 0.6}),
)

_STREAM_PARAMETERS = {
    "sampling_rate": {"type": "integer", "description": "of the samples (default: the model's)"},
    "encoding": {"type": "string", "enum": ["s16le", "f32le"], "default": "s16le"},
    "window_seconds": _TIMELINE_PARAMETERS["window_seconds"],
    "hop_seconds": _TIMELINE_PARAMETERS["hop_seconds"],
    "top_k": _PARAMETERS["top_k"],
    "ticket": {"type": "string", "description": "from POST /v1/stream-ticket, in place of the token"},
}
STREAM_SETTINGS = tuple(_STREAM_PARAMETERS)

STREAM: dict[str, Any] = {
    "summary": "Windows of a recording while it is recorded (WebSocket)",
    "description": (
        "Send binary messages of samples, one channel, at most 1 MiB each, and the text end. Each window comes back as "
        'JSON text, {"start_s", "end_s", "scores"}; an error as {"error"} before the connection is closed. Browsers '
        "offer the subprotocols earmark and earmark.bearer.TOKEN (base64url), or send a ticket."
    ),
    "status_code": 101,
    "responses": errors(400, 401, 426, 429, 503) | {101: {"description": "the stream is open"}},
    "openapi_extra": {
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _STREAM_PARAMETERS.items()]
    },
}

STREAM_TICKET: dict[str, Any] = {
    "summary": "A ticket that opens one stream",
    "description": "For browsers, which cannot send the token with a WebSocket: /v1/stream?ticket=TICKET.",
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
