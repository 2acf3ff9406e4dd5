"""A peer: what one writes in an hour. FastAPI and a dictionary of boosters, of which the last ``LIMIT`` stay."""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
import xgboost
from fastapi import FastAPI, Request, Response

LIMIT = int(os.environ.get("LIMIT", "0")) or sys.maxsize
app = FastAPI()
folders: dict[str, str] = {}
models: OrderedDict[str, tuple[xgboost.Booster, int]] = OrderedDict()


def load(name: str) -> tuple[xgboost.Booster, int]:
    """Load a model; the least recently used one goes when there are too many."""
    folder = Path(folders[name])
    card = json.loads((folder / "city_fleet" / "model.json").read_text())
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(folder / "xgboost-model.ubj")
    models[name] = booster, card["features"].index(card["target_transform"]["reference"])
    while len(models) > LIMIT:
        models.popitem(last=False)
    return models[name]


@app.get("/ping")
async def ping() -> dict[str, str]:
    """Answer the health check."""
    return {"status": "Healthy"}


@app.post("/models")
async def add(request: Request) -> dict[str, str]:
    """Load a model."""
    body: Any = json.loads(await request.body())
    folders[body["model_name"]] = body["url"]
    load(body["model_name"])
    return {"status": "loaded"}


@app.post("/models/{name}/invoke")
async def invoke(name: str, request: Request) -> Response:
    """Answer rows, of text/csv or application/json."""
    body = await request.body()
    if request.headers.get("content-type") == "application/json":
        rows = np.array(json.loads(body)["instances"], dtype=np.float64)
    else:
        rows = np.array([line.split(b",") for line in body.split()], dtype=np.float64)
    found = models.get(name)
    if found is None:
        found = load(name)
    models.move_to_end(name)
    booster, reference = found
    values = np.exp(booster.inplace_predict(rows).astype(np.float64)) * rows[:, reference]
    return Response(",".join(map(repr, values.tolist())), media_type="text/csv")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
