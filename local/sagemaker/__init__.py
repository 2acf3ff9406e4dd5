"""A local stand-in for Amazon SageMaker: real boto3 on the wire, real jobs and a real endpoint underneath.

Start it with ``python -m local.sagemaker``; see docs/local.md.
"""

from __future__ import annotations

__version__ = "0.1.0"
