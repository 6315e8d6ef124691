"""The routes: Open Inference Protocol v2 for platforms, POST /predict for people, /metrics for Prometheus."""

import asyncio
import concurrent.futures
import dataclasses
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, StringConstraints
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.gzip import GZipMiddleware

from fineline import __version__
from fineline.serving import description, protocol
from fineline.serving.batching import Answer, Batcher, QueueFull, Scored
from fineline.serving.bodies import CLIENT_WENT_AWAY, body_of
from fineline.serving.edge import Edge
from fineline.serving.feedback import Feedback
from fineline.serving.metrics import Metrics
from fineline.serving.models import Served, Watch, log
from fineline.serving.sample_log import SampleLog
from fineline.serving.settings import Settings
from fineline.serving.shadow import Pair, Shadow
from fineline.serving.tokens import Tokens

RETRY_AFTER_SECONDS = 1
MAX_LABEL = 100
"""Characters of a label in feedback, as ingest.max_label_characters."""
COMPRESSED_FROM = 1_024
"""Bytes of an answer that is compressed for whoever takes gzip: below, it would hardly become smaller."""


class PredictRequest(BaseModel):
    """A request to /predict."""

    texts: list[str]


class Told(BaseModel):
    """A text with the label that is right."""

    text: str
    label: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LABEL)]


class FeedbackRequest(BaseModel):
    """A request to /feedback."""

    feedback: list[Told]


@dataclasses.dataclass(frozen=True)
class Service:
    """What the routes answer with."""

    settings: Settings
    watch: Watch
    batcher: Batcher
    metrics: Metrics
    sample_log: SampleLog | None
    shadow: Shadow | None
    tokens: Tokens | None
    feedback: Feedback | None

    def model(self, name: str, version: str = "") -> Served:
        """The model that is served. Raises HTTPException when it has another name or version."""
        now = self.watch.served
        if name != now.name:
            raise HTTPException(404, f"there is no model '{name}'; this server has '{now.name}'")
        if version not in ("", now.version):
            raise HTTPException(404, f"there is no version '{version}' of '{name}'; this server has '{now.version}'")
        return now

    async def answers(
        self, request: Request, model: Served, texts: list[str], pinned: bool = False
    ) -> tuple[Served, list[Answer]]:
        """(the version that answers, its answers to `texts`), counted and logged: `model`, or its shadow unless `pinned`.

        Raises HTTPException for texts that are refused.
        """
        _check(texts, self.settings)
        pair = Pair(model)
        if self.shadow and not pinned:
            pair = self.shadow.pair(model, request.state.request_id)
        request.state.logged = {"texts": len(texts), "version": pair.answers.version}
        try:
            done = self.batcher.submit(pair.answers, texts)
        except QueueFull:
            raise HTTPException(
                503, "too much is waiting: try again later", {"Retry-After": str(RETRY_AFTER_SECONDS)}
            ) from None
        scored = await _in_time(request, done, self.settings.answer_seconds)
        self.metrics.texts.labels(pair.answers.name, pair.answers.version).inc(len(texts))
        if self.settings.log_texts:
            brief = pair.answers.bundle.task.brief
            request.state.logged |= {"asked": texts, "labels": [brief(answer)[0] for answer in scored.answers]}
        if self.shadow and pair.beside:
            self.shadow.compare(pair, texts, scored)
        elif self.sample_log:
            self.sample_log.add(pair, texts, scored)
        return pair.answers, scored.answers


def make_app(service: Service) -> FastAPI:
    """The application. `app.state.ready` is what /v2/health/ready says; whoever shuts the server down sets it to False."""
    # The pages of /docs load their scripts from the web; /openapi.json stays. A redirect to the path without its last slash
    # would lead from https to http behind a proxy that ends TLS.
    app = FastAPI(
        title="fineline",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its spans and logs would hold paths and what errors say, and so texts; fineline.serving.tracing makes the server's.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.ready = True
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM, compresslevel=1)
    app.add_middleware(Edge, settings=service.settings, metrics=service.metrics, state=app.state, tokens=service.tokens)
    app.add_exception_handler(AnyHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _failed)
    _add_server_routes(app)
    _add_model_routes(app, service)
    _add_own_routes(app, service)
    description.describe(app, [protocol.InferRequest, PredictRequest, FeedbackRequest], service.tokens is not None)
    return app


def _add_server_routes(app: FastAPI) -> None:
    """What Open Inference Protocol v2 says of a server."""

    @app.get("/v2", responses=description.GET)
    async def server_metadata() -> dict[str, Any]:
        return {"name": "fineline", "version": __version__, "extensions": protocol.EXTENSIONS}

    @app.get("/v2/health/live", responses=description.PROBE)
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", responses=description.READY)
    async def ready() -> JSONResponse:
        now = app.state.ready
        return JSONResponse({"live": True, "ready": now}, 200 if now else 503)


def _add_model_routes(app: FastAPI, service: Service) -> None:
    """What it says of a model."""

    @app.get("/v2/models/{name}", responses=description.MODEL)
    @app.get("/v2/models/{name}/versions/{version}", responses=description.MODEL)
    async def model_metadata(name: str, version: str = "") -> dict[str, Any]:
        return protocol.model_metadata(service.model(name, version))

    @app.get("/v2/models/{name}/ready", responses=description.MODEL_READY)
    @app.get("/v2/models/{name}/versions/{version}/ready", responses=description.MODEL_READY)
    async def model_ready(name: str, version: str = "") -> JSONResponse:
        now = app.state.ready
        return JSONResponse({"name": service.model(name, version).name, "ready": now}, 200 if now else 503)

    @app.post("/v2/models/{name}/infer", **description.reads("InferRequest", description.MODEL_ANSWER))
    @app.post(
        "/v2/models/{name}/versions/{version}/infer", **description.reads("InferRequest", description.MODEL_ANSWER)
    )
    async def infer(
        request: Request,
        body: Annotated[protocol.InferRequest, Depends(body_of(protocol.InferRequest, protocol.unpack))],
        name: str,
        version: str = "",
    ) -> Response:
        model = service.model(name, version)
        answering, found = await service.answers(request, model, protocol.texts_of(body, model), pinned=bool(version))
        return protocol.response(body, answering, found)


def _add_own_routes(app: FastAPI, service: Service) -> None:
    """For people, and for Prometheus."""

    @app.post("/predict", **description.reads("PredictRequest", description.ANSWER))
    async def predict(
        request: Request, body: Annotated[PredictRequest, Depends(body_of(PredictRequest))]
    ) -> JSONResponse:
        model, found = await service.answers(request, service.watch.served, body.texts)
        return JSONResponse({"model": model.name, "version": model.version, "predictions": found})

    @app.post("/feedback", **description.reads("FeedbackRequest", description.FEEDBACK))
    async def tell(
        request: Request, body: Annotated[FeedbackRequest, Depends(body_of(FeedbackRequest))]
    ) -> dict[str, int]:
        if service.feedback is None:
            raise HTTPException(404, "this server keeps no feedback: it was started without --feedback-folder")
        _check([told.text for told in body.feedback], service.settings)
        if any("\0" in text for told in body.feedback for text in (told.text, told.label)):
            raise HTTPException(400, "a text or a label holds a NUL character")
        request.state.logged = {"texts": len(body.feedback)}
        try:
            await asyncio.to_thread(service.feedback.add, [(told.text, told.label) for told in body.feedback])
        except OSError as error:
            log.error("feedback lost", extra={"fields": {"rows": len(body.feedback), "why": error.strerror}})
            raise HTTPException(503, "feedback cannot be written now: try again later") from None
        service.metrics.feedback.inc(len(body.feedback))
        return {"kept": len(body.feedback)}

    @app.get("/metrics", responses=description.METRICS, response_class=PlainTextResponse)
    async def read_metrics() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _check(texts: list[str], settings: Settings) -> None:
    """Raises HTTPException for more than the server is set to take."""
    if not texts:
        raise HTTPException(400, "there is no text in the request")
    if len(texts) > settings.max_texts:
        raise HTTPException(413, f"{len(texts)} texts are more than the {settings.max_texts} that one request may hold")
    for number, text in enumerate(texts, 1):
        if len(text) > settings.max_characters:
            raise HTTPException(
                413, f"text {number} has {len(text)} characters, more than the {settings.max_characters} allowed"
            )


async def _refused(_request: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _in_time(request: Request, done: "concurrent.futures.Future[Scored]", seconds: float) -> Scored:
    """The answers. What waits is let go after `seconds`, and when the client goes away."""
    asked, gone = asyncio.wrap_future(done), asyncio.ensure_future(_gone(request))
    either: set[asyncio.Future[Any]] = {asked, gone}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        if gone.done():
            raise HTTPException(CLIENT_WENT_AWAY, "the client went away")
        raise HTTPException(504, f"there was no answer within {seconds:g} s")
    finally:
        asked.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _malformed(_request: Request, error: Any) -> JSONResponse:
    """The first thing wrong, with its place, without repeating the text that is wrong."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"{place}: {first['msg']}" if place else first["msg"]}, 400)


async def _failed(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"error": "the server failed; its log says why"}, 500)
