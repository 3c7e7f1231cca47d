"""The service's routes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from coleaf_framework._text import one_line
from coleaf_framework.serving.answers import ERRORS, FORM, HTML, EventsAnswer, HealthAnswer
from coleaf_framework.serving.guard import Guard, answer
from coleaf_framework.serving.limits import Limits, Refusal
from coleaf_framework.serving.pages import PLAYER_CSP, STATIC_CSP, UPLOAD_CSP, routes_page, upload_page
from coleaf_framework.serving.queue import Queue
from coleaf_framework.serving.uploads import drain, receive
from coleaf_framework.serving.worker_process import Form, Job


class _Service:
    """Takes uploads, lets the worker parse them, and removes them."""

    def __init__(self, queue: Queue, folder: Path, limits: Limits) -> None:
        self.queue, self.folder, self.limits = queue, folder, limits

    async def parse(self, request: Request, form: Form) -> bytes:
        """The answer to an upload; nothing of it is left afterwards."""
        most = self.limits.upload_megabytes
        folder = None
        try:
            with self.queue.upload():
                folder = Path(tempfile.mkdtemp(dir=self.folder))
                megabytes = most if form == "events" else min(most, self.limits.page_megabytes)
                file, name = await receive(request, folder, self.limits, megabytes)
        except Refusal:
            await drain(request, self.limits)
            raise
        else:
            return await self.queue.parse(Job(str(folder), file, name, form), request.is_disconnected)
        finally:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


def make_app(queue: Queue, folder: Path, limits: Limits, about: str, hosts: Collection[str] = ()) -> FastAPI:
    """The application.

    Args:
        queue: Requests that wait for the worker.
        folder: Private temporary folder.
        limits: What is refused.
        about: What parses, such as "HAN in CoLeaF, recipe tiny".
        hosts: See `Guard`.
    """
    service = _Service(queue, folder, limits)
    app = FastAPI(
        title="coleaf serve", summary=f"Parses videos with {about}.", version="1", docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.add_middleware(Guard, hosts=hosts)
    _answer_errors(app)

    @app.get("/", response_class=HTMLResponse, summary="Page to upload a video on")
    async def upload() -> Response:
        return HTMLResponse(upload_page(about, limits), headers={"Content-Security-Policy": UPLOAD_CSP})

    @app.post("/parse", response_model=EventsAnswer, responses=ERRORS, openapi_extra=FORM,
              summary="Events of a video as JSON")  # fmt: skip
    async def parse(request: Request) -> Response:
        return Response(await service.parse(request, "events"), media_type="application/json")

    # Without HTMLResponse as its class, since OpenAPI would then say that errors are HTML too.
    @app.post("/page", response_class=Response, responses=HTML | ERRORS, openapi_extra=FORM,
              summary="Page on which the video plays beside its events")  # fmt: skip
    async def page(request: Request) -> Response:
        content = await service.parse(request, "page")
        return HTMLResponse(content, headers={"Content-Security-Policy": PLAYER_CSP})

    @app.get("/health", response_model=HealthAnswer, summary="Whether the worker is ready",
             responses={503: {"model": HealthAnswer, "description": "it is starting"}})  # fmt: skip
    async def health() -> Response:
        ready = queue.worker.alive
        if not ready:  # whoever waits for "ready" sends no video that would start it
            queue.restart()
        state = HealthAnswer(status="ready" if ready else "starting", parser=about, inside=queue.inside)
        return JSONResponse(state.model_dump(), 200 if ready else 503)

    @app.get("/docs", response_class=HTMLResponse, summary="These routes as a page")
    async def docs() -> Response:
        return HTMLResponse(routes_page(app.openapi()), headers={"Content-Security-Policy": STATIC_CSP})

    return app


def _answer_errors(app: FastAPI) -> None:
    """Answer every error in the same form."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return answer(refusal)

    @app.exception_handler(HTTPException)
    async def not_answered(request: Request, problem: HTTPException) -> Response:
        path = one_line(request.url.path)[:80]
        sentences = {
            404: f"there is no {path!r} here; GET /docs lists what there is",
            405: f"{path!r} does not take {one_line(request.method)[:20]}; GET /docs says what it takes",
        }
        sentence = sentences.get(problem.status_code, str(problem.detail))
        return answer(Refusal(problem.status_code, sentence, dict(problem.headers or {})))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, problem: RequestValidationError) -> Response:
        return answer(Refusal(422, "; ".join(str(error["msg"]) for error in problem.errors())))
