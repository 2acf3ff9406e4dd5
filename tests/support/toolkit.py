"""Stands for the inference toolkit, in the image's Python: a question per line in, an answer per line out."""

from __future__ import annotations

import json
import sys

sys.path.insert(0, sys.argv[1])

import inference

models: dict[str, object] = {}
for line in sys.stdin:
    question = json.loads(line)
    answer: dict[str, object]
    try:
        folder = question["model_dir"]
        if question.get("reload") or folder not in models:
            models[folder] = inference.model_fn(folder)
        body = question["body"] if question.get("as_text") else question["body"].encode()
        data = inference.input_fn(body, question["content_type"])
        prediction = inference.predict_fn(data, models[folder])
        text, kind = inference.output_fn(prediction, question.get("accept"))
        answer = {"text": text, "type": kind}
    except Exception as error:
        answer = {
            "error": type(error).__name__,
            "is_value_error": isinstance(error, ValueError),
            "status_code": getattr(error, "status_code", None),
            "message": getattr(error, "message", None),
            "text": str(error),
        }
    print(json.dumps(answer), flush=True)
