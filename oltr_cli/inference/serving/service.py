"""The web application: /predict, /health, /model-card, and a page that needs no network."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from oltr_cli import __version__
from oltr_cli.base.text import json_text, visible
from oltr_cli.errors import first_line, nearest
from oltr_cli.inference.formats.rows import verdict_record
from oltr_cli.inference.recogniser import Recogniser
from oltr_cli.inference.serving.batcher import Batcher, Overloaded, Room
from oltr_cli.inference.serving.uploads import Body, Limits, Refused, Upload, decoded, read_uploads
from oltr_cli.inference.verdicts import Totals, Verdict
from oltr_cli.inference.wider import WiderAnswers

BODY_SECONDS = 60  # for a request to arrive
BODIES = 4  # so many of the largest requests are held at a time
_ONE = {"type": "string", "format": "binary"}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"files": {"type": "array", "items": _ONE}}}
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {
                        "images": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["data"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "data": {"type": "string", "contentEncoding": "base64"},
                                },
                            },
                        }
                    },
                }
            },
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Verdicts in the order of the images; each has its own status, and an error if it has one"},
    400: {"description": "The request cannot be read"},
    413: {"description": "Too many images or bytes, or all images are too large"},
    415: {"description": "Neither a form nor JSON, or none of the files is an image"},
    422: {"description": "No image can be decoded, or top_k is no number above 0"},
    503: {"description": "Busy; Retry-After says after how many seconds to try again"},
}


class Service:
    """What the application works with.

    Args:
        wider: what the verdicts of ``batcher`` have beside the class, for the head of an answer.
        card: the model card as Markdown.
        decoders: threads that decode images.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        wider: WiderAnswers | None,
        batcher: Batcher,
        limits: Limits,
        card: str,
        decoders: int,
    ) -> None:
        self.recogniser, self.batcher, self.limits, self.card = recogniser, batcher, limits, card
        self.pool = ThreadPoolExecutor(max(1, decoders), "decode")
        self.bodies = Room(BODIES * limits.request_bytes)
        self.facts: dict[str, Any] = {"run": recogniser.run.name, "threshold": recogniser.threshold_facts}
        self.facts |= {} if wider is None else wider.facts

    async def predict(self, request: Request, top_k: int) -> Response:
        """The answer to one request; see ``_ANSWERS``."""
        body = Body(request, self.limits.request_bytes)
        size = min(body.length, body.most)
        if not self.bodies.take(size):
            return await _refused(body, _busy(self.batcher.seconds_left))
        try:
            async with asyncio.timeout(BODY_SECONDS):
                uploads = await read_uploads(request, body, self.limits)
            self.batcher.reserve(len(uploads))
            try:
                rows = await asyncio.gather(*(self._one(upload, top_k) for upload in uploads))
            finally:
                self.batcher.room.give_back(len(uploads))
        except Refused as refused:
            return await _refused(body, _line(refused.status, str(refused)))
        except Overloaded as overloaded:
            return _busy(overloaded.seconds)
        except TimeoutError:
            return _line(408, f"the request did not arrive within {BODY_SECONDS} s")
        except asyncio.CancelledError:  # uvicorn's, after the time that it leaves to requests in flight
            return _line(503, "the server is stopping; the images were not judged")
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        finally:
            self.bodies.give_back(size)
        return self._answer(rows)

    async def _one(self, upload: Upload, top_k: int) -> tuple[Verdict, int]:
        """The verdict on one image, and its status."""
        spec = self.recogniser.recipe.data
        loop = asyncio.get_running_loop()
        upload, crop = await loop.run_in_executor(self.pool, decoded, upload, spec, self.limits)
        if crop is None:
            return Verdict(upload.name, visible(upload.problem)), upload.status
        try:
            verdict = await asyncio.wrap_future(self.batcher.submit(upload.name, crop, top_k))
        except Exception as error:  # of the network: a device out of memory
            return Verdict(upload.name, f"could not be judged ({visible(first_line(error))})"), 500
        return replace(verdict, top=verdict.top[:top_k]), 422 if verdict.error else 200

    def _answer(self, rows: list[tuple[Verdict, int]]) -> Response:
        """200 if any image has a verdict, else the one status of all, or 422 if they differ."""
        totals = Totals()
        totals.add([verdict for verdict, _ in rows])
        images = [{**verdict_record(verdict), "status": status} for verdict, status in rows]
        statuses = {status for _, status in rows}
        status = 200 if 200 in statuses else statuses.pop() if len(statuses) == 1 else 422
        return _json(status, {**self.facts, "images": images, "counts": vars(totals), "complete": True})

    def health(self) -> Response:
        """Whether images would be answered, and how many wait."""
        alive = self.batcher.alive
        told: dict[str, Any] = {
            "status": "ok" if alive else "stopped",
            "run": self.recogniser.run.name,
            "oltr": __version__,
        }
        told |= {"images": self.batcher.judged, "batches": self.batcher.batches, "waiting": self.batcher.room.taken}
        told |= {"room": self.batcher.room.most, "batch_size": self.batcher.size}
        told |= {"window_ms": 1000 * self.batcher.window, "limits": vars(self.limits)}
        return _json(200 if alive else 503, told)


def application(service: Service, started: Callable[[], None] = lambda: None) -> FastAPI:
    """The application of ``service``; its batcher works while the application does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with service.batcher, service.pool:
            started()
            yield

    app = FastAPI(
        title=f"oltr: {visible(service.recogniser.run.name)}",
        version=__version__,
        docs_url=None,  # FastAPI's own pages load their scripts from a server elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.post("/predict", openapi_extra=_BODY, responses=_ANSWERS, response_class=Response)
    async def predict(request: Request, top_k: Annotated[int, Query(ge=1)] = 1) -> Response:
        """Verdicts on images, sent as files of a form or as base64 in JSON."""
        for name in request.query_params:
            if name != "top_k":
                return _line(422, f"no parameter '{name}'{nearest(name, ['top_k'])}")
        return await service.predict(request, top_k)

    @app.get("/health", response_class=Response)
    async def health() -> Response:
        """Whether images would be answered, how many wait, and the limits."""
        return service.health()

    @app.get("/model-card", response_class=Response)
    async def model_card() -> Response:
        """The model card as Markdown: classes, figures on the test set, threshold, limits."""
        return Response(service.card, media_type="text/markdown; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(files("oltr_cli.inference.serving").joinpath("page.html").read_text(encoding="utf-8"))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _line(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _line(422, f"{first['loc'][-1]}: {first['msg']}")

    return app


async def _refused(body: Body, response: Response) -> Response:
    """``response`` after the rest of the request has come, or stopped coming."""
    with suppress(TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            await body.drop()
    return response


def _json(status: int, content: Any) -> Response:
    return Response(json_text(content), status, media_type="application/json")


def _line(status: int, text: str) -> Response:
    return _json(status, {"error": visible(text)})


def _busy(seconds: int) -> Response:
    response = _line(503, str(Overloaded(seconds)))
    response.headers["Retry-After"] = str(seconds)
    return response
