"""What ``/openapi.json`` says of requests whose bodies are read by hand, with examples."""

from __future__ import annotations

from typing import Any

from earmark.serve.forms import DEFAULT_TOP_K, FUNCTIONS

_EXAMPLE = [{"label": "yes", "score": 0.97}, {"label": "no", "score": 0.02}]
_WHAT = {
    400: "the request is broken",
    401: "no token, or another one",
    408: "the request came too slowly",
    413: "the body is too large, or the recording too long",
    415: "not a recording in a known format",
    422: "the recording is broken, or takes too long to decode",
    429: "too many requests are waiting: come back after Retry-After seconds",
    503: "the server is about to stop, or did not answer in time",
}
_ERROR_BODY = {
    "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "example": {"error": "cut short: the header promises 32000 bytes of sound, 1000 are there"},
}
_FUNCTION = "unless given: softmax; sigmoid of a model of several labels, none of one that answers a number"
_PARAMETERS = {
    "top_k": {"type": "integer", "minimum": 1, "default": DEFAULT_TOP_K},
    "function_to_apply": {"type": "string", "enum": list(FUNCTIONS), "description": _FUNCTION},
}
_FILE = {"type": "string", "format": "binary"}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route answers when it cannot answer."""
    return {status: {"description": _WHAT[status], "content": {"application/json": _ERROR_BODY}} for status in statuses}


STATUS: dict[int | str, dict[str, Any]] = {
    200: {"description": "yes", "content": {"application/json": {"example": {"status": "ok"}}}}
}

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
}

_TIMELINE_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "what is heard when, and in the whole recording",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {
                    "duration_s": 2.0,
                    "task": "single_label",
                    "scores": _EXAMPLE,
                    "segments": [{"start_s": 0.0, "end_s": 1.0, "label": "yes", "score": 0.97}],
                    "windows": [{"start_s": 0.0, "end_s": 1.0, "scores": _EXAMPLE}],
                },
            }
        },
    }
}


def _request(parameters: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    """The three forms of a body, and the same settings in the query."""
    properties = {
        "inputs": {"type": "string", "format": "byte", "description": "the recording in base64"},
        "parameters": {"type": "object", "properties": parameters},
    }
    json_form = {
        "schema": {"type": "object", "required": ["inputs"], "properties": properties},
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


CLASSIFY: dict[str, Any] = {
    "summary": "Name the most likely classes of a recording",
    "description": (
        "The body is the recording itself, a form with one file, or JSON as Hugging Face's inference API takes it. "
        "Its format is found out from the bytes. A recording longer than the model hears at a time is cut into "
        "windows, and the scores are their mean."
    ),
    "responses": _ANSWER | errors(400, 401, 408, 413, 415, 422, 429, 503),
    "openapi_extra": _request(_PARAMETERS, {"top_k": 2, "function_to_apply": "softmax"}),
}

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

TIMELINE: dict[str, Any] = {
    "summary": "What is heard when in a long recording",
    "description": "Bodies as for /v1/classify.",
    "responses": _TIMELINE_ANSWER | errors(400, 401, 408, 413, 415, 422, 429, 503),
    "openapi_extra": _request(_TIMELINE_PARAMETERS, {"hop_seconds": 0.5, "threshold": 0.6}),
}
