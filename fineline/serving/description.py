"""What /openapi.json says besides what FastAPI finds out: the bodies that routes read themselves, and every status they send."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fineline.serving.tokens import OPEN

Responses = dict[int | str, dict[str, Any]]

_SCHEMAS = "#/components/schemas/"


class Problem(BaseModel):
    """What every refusal holds."""

    error: str


def _sent(*statuses: int) -> Responses:
    return {status: {"model": Problem, "description": _WORDS[status]} for status in statuses}


_WORDS = {
    400: "The body is not what the route takes; error says what of it",
    401: "The server was given tokens, and none of them came",
    404: "Another model or version serves here, or what is asked for is switched off",
    408: "The body did not come in time",
    413: "The body or a text is too large",
    415: "The body is of a type or encoding that is not read",
    500: "The server failed; its log says where",
    503: "The server is not ready, or too much waits: try again later",
    504: "The answer took too long",
}
PROBE = _sent(413, 415)
METRICS = {**PROBE, **_sent(401)}
GET = {**METRICS, **_sent(503)}
READY = {**PROBE, 503: {"description": _WORDS[503]}}
MODEL = {**GET, **_sent(404)}
MODEL_READY = {**READY, **_sent(401, 404)}
ANSWER = {**GET, **_sent(400, 408, 500, 504)}
FEEDBACK = {**GET, **_sent(400, 404, 408, 500)}
MODEL_ANSWER = {**ANSWER, **_sent(404), 200: {"content": {"application/octet-stream": {}}}}


def reads(model: str, responses: Responses) -> dict[str, Any]:
    """The description of a route that reads its body by itself, as the model of that name."""
    content = {"application/json": {"schema": {"$ref": _SCHEMAS + model}}}
    return {"responses": responses, "openapi_extra": {"requestBody": {"required": True, "content": content}}}


def describe(app: FastAPI, bodies: Sequence[type[BaseModel]], tokens: bool) -> None:
    """Adds the models of `bodies` to the app's description, and that `tokens` are needed; takes out 422, which FastAPI puts there
    and no route sends."""

    def openapi() -> dict[str, Any]:
        found = FastAPI.openapi(app)
        for operation in (operation for path in found["paths"].values() for operation in path.values()):
            operation["responses"].pop("422", None)
        if tokens:
            found["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            found["security"] = [{"bearer": []}]
            for path in OPEN:
                found["paths"][path]["get"]["security"] = []
        _, models = models_json_schema([(body, "validation") for body in bodies], ref_template=f"{_SCHEMAS}{{model}}")
        found["components"]["schemas"] |= models["$defs"]
        return found

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's way to extend it
