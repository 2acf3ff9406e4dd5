"""What runs inside the image: script-mode training. (What serves there is the package model_server.)

These modules stand for the SageMaker training toolkit of a managed image. They run in the interpreter registered for
the image, so they use the standard library only and never import the rest of ``local.sagemaker``; the host knows them
by their command line alone.
"""
