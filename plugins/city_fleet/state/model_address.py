"""Where a model answers: the SageMaker endpoint, and what leads to the model on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.shared_endpoints import SharedEndpoints, answering


@dataclass(frozen=True)
class Address:
    """Where a model answers.

    :param endpoint: name of the SageMaker endpoint.
    :param target_model: key of the artifact below the endpoint's prefix; what a model is called everywhere.
    :param container: hostname of the model's container, where it has one of its own; else the endpoint loads it.
    """

    endpoint: str
    target_model: str
    container: str = ""

    @property
    def request(self) -> dict[str, str]:
        """Return the members of an InvokeEndpoint request that lead to the model."""
        way = (
            {"TargetContainerHostname": self.container}
            if self.container
            else {"TargetModel": self.target_model}
        )
        return {"EndpointName": self.endpoint, **way}


def address_of(model: ServedModel, shared: SharedEndpoints, own: str) -> Address:
    """Return where a model answers.

    :param shared: which SageMaker endpoint serves for each shared one.
    :param own: name of the fleet's own shared endpoint, which a model without another one is on.
    """
    endpoint = answering(shared, model.endpoint or own, model.container)
    return Address(endpoint, model.target_model, model.container)
