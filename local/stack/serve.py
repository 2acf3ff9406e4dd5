"""`make serve`: the predict function of AWS Lambda on this machine, against the stack of `make up`."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console

from city_fleet.config import fleet_files, load_fleet
from city_fleet.plan import predict_variables
from city_fleet.prediction.traffic_page import CONTENT_TYPE, TrafficPage
from local import ROOT
from local.stack.choice import DEFAULT_FLEET, find_fleet
from local.stack.environment import fleet_variables
from local.stack.errors import StackError
from local.stack.lambda_http import LambdaServer, event_of
from local.stack.stack import Stack

if TYPE_CHECKING:
    from city_fleet.config import Fleet

FUNCTION = ROOT / "include" / "lambda" / "predict" / "handler.py"
PORT = 8686


def serve(console: Console, state_dir: Path, fleet: str, port: int, origins: str) -> None:
    """Serve one fleet's predictions until Ctrl-C.

    :param fleet: name or path of a fleet file; empty for that of the demo, or the first one.
    :param origins: whose pages may ask from a browser, as CITY_FLEET_CORS_ORIGINS has them.
    :raises StackError: there is no stack, or the port is taken.
    """
    stack = Stack.find(state_dir)
    if stack is None:
        raise StackError("Nothing is up, so there is no endpoint to ask. Run `make up` first.")
    folder = stack.layout.fleets_dir
    files = [find_fleet(fleet, folder)] if fleet else fleet_files(folder)
    if not files:
        raise StackError(f"{folder} holds no fleet file; name one: `make serve FLEET=…`.")
    file = next((each for each in files if each.stem == DEFAULT_FLEET), files[0])
    found = load_fleet(file, stack.environment)
    handler = _load(fleet_variables(stack.layout) | variables(found, origins))
    page = TrafficPage(found.fleet, found.environment, found.metrics.cities)
    handler.OBSERVERS.append(page)

    def metrics() -> tuple[str, str]:
        if handler.CAPTURE is not None:
            page.count_capture_errors(handler.CAPTURE.taken_errors())
        return CONTENT_TYPE, page.text()

    try:
        server = LambdaServer(handler.handler, port, {"/metrics": metrics})
    except OSError as error:
        raise StackError(
            f"Port {port} can't be listened on ({error.strerror}); take another: `make serve PORT=…`."
        ) from error
    console.print(_how_to_ask(server.url, found, handler), markup=False)
    # As Ctrl-C does: what waits to be captured is written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if handler.CAPTURE is not None:
        handler.CAPTURE.start()
    try:
        with server:
            server.serve_forever()
    finally:
        if handler.CAPTURE is not None:
            handler.CAPTURE.close()


def variables(fleet: Fleet, origins: str) -> dict[str, str]:
    """Return what Lambda would set for the function of a fleet."""
    return {**predict_variables(fleet, embedded=False), "CITY_FLEET_CORS_ORIGINS": origins}


def _load(environment: dict[str, str]) -> ModuleType:
    """Load the handler as a container of Lambda does, with nothing of the person's own AWS."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "CITY_FLEET_"))]:
        del os.environ[name]
    os.environ.update(environment)
    spec = importlib.util.spec_from_file_location("predict_handler", FUNCTION)
    if spec is None or spec.loader is None:
        raise StackError(f"{FUNCTION} can't be loaded.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _how_to_ask(url: str, fleet: Fleet, handler: ModuleType) -> str:
    """Return what to type: a line that works, where a model is live."""
    listed = handler.handler(event_of("GET", "/cities", {}, b""), None)
    live = [city for city in fleet.cities if f'"{city}"' in listed["body"]]
    city = live[0] if live else next(iter(fleet.cities), "austin")
    capture = fleet.capture
    kept = (
        f"\n\n  {capture.share:.0%} of its predictions are kept: ./fleet captured {city}"
        if capture.share
        else ""
    )
    hint = (
        ""
        if live
        else "\n  No model of it is live yet: trigger a city's DAG first, or `make demo` for a look."
    )
    return f"""
  {url}    predictions of fleet {fleet.fleet}, by the Lambda function's own code{hint}

  curl -sS {url}/predict -d '{{"city": "{city}"}}'
  curl -sS {url}/cities
  curl -sS {url}/openapi.json
  curl -sS {url}/metrics{kept}

  Ctrl-C ends it."""
