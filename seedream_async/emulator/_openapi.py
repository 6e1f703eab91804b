"""
The API in the words of OpenAPI 3.1, as data.

What it describes as valid is accepted. It is narrower than the API in one thing: an area in
pixels cannot be written as a schema, so of free sizes only a range of sides that is safe is named.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from seedream_async import _catalog

Schema: TypeAlias = dict[str, Any]

# Sides from which every two make an area, and a shape, that the family of this least area takes.
_SAFE_SIDES = {
    262_144: "(5(1[2-9]|[2-9][0-9])|[6-9][0-9]{2}|1[0-9]{3}|20(4[0-8]|[0-3][0-9]))",
    921_600: "(9[6-9][0-9]|1[0-9]{3}|20[0-4][0-9])",
    3_686_400: "(19[2-9][0-9]|[23][0-9]{3}|40[0-8][0-9]|409[0-6])",
}
_ERRORS = {
    "400": "The request is not valid, or its content is not allowed; nothing is billed.",
    "401": "The key is missing or wrong.",
    "403": "The balance is empty, or the key lacks a right.",
    "404": "The model is not known (Ark).",
    "413": "The body is too large.",
    "429": "Too much at once; `Retry-After` may tell how long to wait.",
    "500": "Trouble upstream.",
    "503": "No channel for the model: it is busy, or `model_not_found`, not known.",
}


@cache
def description() -> Schema:
    """The description of both endpoints."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Seedream through CometAPI, as the emulator has it",
            "version": "1",
            "description": __doc__,
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/images/generations": {"post": _generations()},
            "/v1/models": {"get": _models()},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Request": {"oneOf": _forms()},
                "Images": _images(),
                "Error": _error_envelope(),
                "Models": _list_of_models(),
            },
        },
    }


def _generations() -> Schema:
    return {
        "operationId": "generateImages",
        "summary": "Make images of a prompt",
        "requestBody": {"required": True, "content": _json("Request")},
        "responses": {
            "200": {
                "description": "The images, whole or as events if `stream` was asked for.",
                "content": _json("Images") | {"text/event-stream": {"schema": _event()}},
            },
            **_refusals(*_ERRORS),
        },
    }


def _models() -> Schema:
    return {
        "operationId": "listModels",
        "summary": "The models that the key may use",
        "responses": {
            "200": {"description": "All of them.", "content": _json("Models")},
            **_refusals("401"),
        },
    }


def _refusals(*statuses: str) -> Schema:
    return {
        status: {"description": _ERRORS[status], "content": _json("Error")} for status in statuses
    }


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _forms() -> list[Schema]:
    return [form for family in _catalog.FAMILIES for form in _forms_of(family)]


def _forms_of(family: _catalog.Family) -> list[Schema]:
    """What the models of *family* take, apart by what rules out something else."""
    forms = [_form(family, family.name, {})]
    if family.layers:
        layered = {
            "layer_decomposition": {"const": True},
            "prompt": {"type": ["string", "null"]},
            "size": _one_of("auto", *family.sizes),
            "image": _images_given(1, 1),
        }
        forms.append(_form(family, f"{family.name}, layers", layered, "layer_decomposition image"))
    if family.background:
        by_default = family.output_formats[0] == "png"
        cut_out = {
            "background": {"const": "transparent"},
            "output_format": _one_of("png") if by_default else {"const": "png"},
        }
        needed = "background" if by_default else "background output_format"
        if family.background_edits:
            cut_out["image"] = _images_given(1, 1)
            needed += " image"
        forms.append(_form(family, f"{family.name}, transparent", cut_out, needed))
    return forms


def _form(family: _catalog.Family, title: str, special: Schema, needed: str = "") -> Schema:
    required = ["model", *needed.split()]
    if "prompt" not in special:
        required.append("prompt")
    if family.needs_reference:
        required.append("image")
    model = {"enum": list(family.ids)}
    return {
        "title": title,
        "type": "object",
        "required": required,
        "properties": {"model": model, **_fields(family), **special},
    }


def _fields(family: _catalog.Family) -> Schema:
    """The fields. One that the model lacks may only be null."""
    seed = {"type": ["integer", "null"], "minimum": -1, "maximum": 2**31 - 1}
    scale = {"type": ["number", "null"], "minimum": 1, "maximum": 10}
    return {
        "prompt": {"type": "string", "pattern": r"\S"},
        "size": _size(family),
        "image": _images_given(int(family.needs_reference), family.references),
        "response_format": _one_of("url", "b64_json"),
        "watermark": _FLAG,
        "seed": _if(family.seed, seed),
        "guidance_scale": _if(family.guidance_scale, scale),
        "output_format": _if(len(family.output_formats) > 1, _one_of("jpeg", "png")),
        "stream": _if(family.stream, _FLAG),
        "tools": _if(family.web_search, _TOOLS),
        "optimize_prompt": _FLAG,
        "layer_decomposition": _if(family.layers, {"enum": [False, None]}),
        "background": _if(family.background, _one_of("auto", "opaque")),
        **_fields_with_options(family),
    }


def _fields_with_options(family: _catalog.Family) -> Schema:
    most = {"type": ["integer", "null"], "minimum": 1, "maximum": _catalog.MAX_IMAGES}
    modes = family.optimize_modes
    mode = _one_of(*(modes or ("standard", "fast")))
    rewriting = _options({"mode": mode, "thinking": _one_of("auto", "enabled", "disabled")})
    return {
        "sequential_image_generation": _if(family.group, _one_of("disabled", "auto")),
        "sequential_image_generation_options": _if(family.group, _options({"max_images": most})),
        "optimize_prompt_options": _if(modes != (), rewriting),
    }


_FLAG = {"type": ["boolean", "null"]}
_TOOLS = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"const": "web_search"}},
    },
}


def _if(able: bool | None, schema: Schema) -> Schema:
    """*schema*, if a model is *able*, or if that is not known."""
    return {"type": "null"} if able is False else schema


def _one_of(*values: str) -> Schema:
    return {"enum": [*values, None]}


def _options(fields: Schema) -> Schema:
    return {"type": ["object", "null"], "properties": fields}


def _images_given(least: int, most: int) -> Schema:
    """Links, to be generated and tested; see the description for what else there is."""
    link = {"type": "string", "pattern": "^https?://"}
    several = {"type": "array", "items": link, "minItems": least, "maxItems": most}
    return {
        "description": "Links, or `data:image/png;base64,…` and the like.",
        "anyOf": [several, *([link] if most else []), *([] if least else [{"type": "null"}])],
    }


def _size(family: _catalog.Family) -> Schema:
    if family.needs_reference:
        return _one_of(family.default_size)
    least, most = family.pixels
    recommended = [size for tier in family.sizes.values() for size in tier]
    side = _SAFE_SIDES[least]
    return {
        "description": f"A tier, or WIDTHxHEIGHT of {least} to {most} pixels.",
        "anyOf": [
            _one_of(*family.sizes, *recommended),
            {"type": "string", "pattern": f"^{side}x{side}$"},
        ],
    }


def _object(required: str, **fields: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": fields}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer", "minimum": 0}
_ERROR = _object("code message", code=_TEXT, message=_TEXT)


def _images() -> Schema:
    return _object(
        "model created data usage",
        model=_TEXT,
        created=_NUMBER,
        data={"type": "array", "items": _item()},
        usage=_usage(),
        tools=_TOOLS,
        error=_ERROR,
    )


def _item() -> Schema:
    box = {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}
    return _object(
        "",
        url={"type": "string", "format": "uri"},
        b64_json={"type": "string", "contentEncoding": "base64"},
        size={"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
        output_format={"enum": ["jpeg", "png"]},
        background=_TEXT,
        z_index=_NUMBER,
        name=_TEXT,
        description=_TEXT,
        bounding_box=_object("absolute normalized", absolute=box, normalized=box),
        error=_ERROR,
    )


def _usage() -> Schema:
    return _object(
        "generated_images output_tokens total_tokens",
        generated_images=_NUMBER,
        output_tokens=_NUMBER,
        total_tokens=_NUMBER,
        input_images=_NUMBER,
        tool_usage=_object("web_search", web_search=_NUMBER),
    )


def _event() -> Schema:
    """One event of a stream; the final `[DONE]` is one without a name, which is `message`."""
    names = ("partial_succeeded", "partial_failed", "completed")
    return _object(
        "event data",
        event={"enum": [*(f"image_generation.{name}" for name in names), "error", "message"]},
        data={"type": "string", "description": "JSON, or `[DONE]`."},
    )


def _error_envelope() -> Schema:
    error = _object("code message type", code=_TEXT, message=_TEXT, type=_TEXT, param=_TEXT)
    return _object("error", error=error)


def _list_of_models() -> Schema:
    model = _object("id object", id=_TEXT, object={"const": "model"}, owned_by=_TEXT)
    return _object("object data", object={"const": "list"}, data={"type": "array", "items": model})
