"""Hooks of the Amazon provider, without most of what takes half a second of CPU before a task's first request.

boto3 reads the model of a service anew for each session, and each hook has a session of its own: SageMaker's alone are
megabytes of JSON. Here all sessions of a process have the models in common, and a process that forks tasks reads them
beforehand. And the provider looks through the source of all that calls it to say in ``User-Agent`` which operator it
is; here it looks at the names.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import boto3
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.loaders import Loader

#: What a task of a city asks.
SERVICES = ("s3", "sagemaker", "sagemaker-runtime")
#: By where they look for models (``AWS_DATA_PATH`` says where else).
_loaders: dict[tuple[str, ...], Loader] = {}


def share_models(session: Any) -> None:
    """Let a session have the models that others have read.

    :param session: boto3's, or aiobotocore's, which is left as it is: the provider does the same for those.
    """
    core = getattr(session, "_session", None)
    if core is None:
        return
    loader = core.get_component("data_loader")
    core.register_component("data_loader", _loaders.setdefault(tuple(loader.search_paths), loader))


def read_models() -> None:
    """Read the models of all services beforehand. Asks nothing of AWS."""
    # With keys, or botocore would look for some; nothing is ever signed with them.
    session = boto3.session.Session("unused", "unused", region_name="us-east-1")
    share_models(session)
    for service in SERVICES:
        session.client(service)


class _Cheap:
    """Mixed in before a hook."""

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Any:
        session = super().get_session(region_name, deferrable)  # type: ignore[misc]
        share_models(session)
        return session

    def _get_caller(self, target_function_name: str = "execute") -> str:
        """Return the class whose ``execute`` asks for a client, as the provider does."""
        frame = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == target_function_name and "self" in frame.f_locals:
                return type(frame.f_locals["self"]).__name__
            frame = frame.f_back  # type: ignore[assignment]
        return "Unknown"


class AwsHook(_Cheap, AwsBaseHook):
    """The provider's hook of any service; and of several, which then have connection and session in common."""

    _session: Any = None

    def get_session(self, region_name: str | None = None, deferrable: bool = False) -> Any:
        if region_name is not None or deferrable:
            return super().get_session(region_name, deferrable)
        if self._session is None:
            self._session = super().get_session()
        return self._session

    def client_of(self, service: str, config: Config) -> Any:
        """Return a client of a service. Not for several threads at a time, as boto3's sessions are not.

        :param config: where the connection says otherwise, that counts.
        """
        self.client_type = service
        return self.get_client_type(config=config.merge(self.config))


class JobsHook(_Cheap, SageMakerHook):
    """The provider's hook of SageMaker."""
