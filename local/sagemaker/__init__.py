"""A local stand-in for Amazon SageMaker: boto3 talks to it as to AWS, jobs really run, endpoints really answer.

Start it with ``python -m local.sagemaker``; see docs/internals/local-sagemaker.md.
"""

from __future__ import annotations

__version__ = "0.1.0"
