"""Whether the process lives, and whether it can serve."""

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from pipeline.api import describe
from pipeline.api.health import ApiHealth
from pipeline.api.problems import try_again_later

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=Response, **describe.GET_HEALTH)
async def get_health() -> Response:
    """Say that the process lives."""
    return Response(orjson.dumps({"status": "alive"}), media_type="application/json")


@router.get("/readyz", response_class=Response, **describe.GET_READY)
async def get_ready(request: Request) -> Response:
    """Say whether requests can be served: Kafka answers, the API keys and the quota records are read."""
    if faults := await ApiHealth(request.app).faults():
        raise try_again_later(503, "not-ready", f"{'; '.join(faults)}.")
    return Response(orjson.dumps({"status": "ready"}), media_type="application/json")
