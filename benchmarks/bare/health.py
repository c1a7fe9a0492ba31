"""FastAPI with one route, and nothing else."""

from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel


class Health(BaseModel):
    """The answer."""

    status: Literal["ok"] = "ok"


app = FastAPI()


@app.get("/health")
async def live() -> Health:
    """Answer."""
    return Health()
