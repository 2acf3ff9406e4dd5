"""The cells of a city's notebook: prose, and code that knows the job scripts and neither Airflow nor the library.

``$city``, ``$files`` and ``$change`` are filled in by ``notebook.py``; all else about the city is read from the files
beside the notebook, so no text of others becomes code.
"""

from __future__ import annotations

MARKDOWN, CODE = "markdown", "code"

_HEAD = """\
# $title: its three steps, one cell each

Made by `./fleet try`. Beside it lies the folder `$files`: the city's raw data, settings and scripts, and the
model that serves, as they were then. The steps are the jobs' own scripts, so the model has the bytes that a night
would make. Nothing goes live by it.

It needs a kernel of `.venv-notebook` (`make notebook-environment`): the versions of the jobs' image, matplotlib,
and the SageMaker SDK. In VS Code choose that Python; for your own Jupyter:
`.venv-notebook/bin/python -m ipykernel install --user --name city-fleet`. Without a screen:
`.venv-notebook/bin/jupyter execute --inplace FILE.ipynb`."""

_IMPORTS = """\
import copy
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

CITY = $city
FILES = Path($files_literal)  # beside this notebook
if not (FILES / "job.json").is_file():
    raise FileNotFoundError(f"{FILES} is not there: run this notebook in the folder that it lies in")
job = json.loads((FILES / "job.json").read_text("utf-8"))
settings = {
    step: json.loads((FILES / "settings" / f"{step}.json").read_text("utf-8"))
    for step in ("preprocess", "train", "evaluate")
}"""

_SETTINGS = """\
## The settings

What `settings.json` says to each step: the fleet file's lines with all defaults filled in. Each field:
docs/fleet-file.md."""

_SHOW_SETTINGS = """\
mine = settings["train"]["cities"][0]
pd.json_normalize(mine["dataset"]).T.set_axis(["dataset"], axis=1)"""

_SHOW_CANDIDATES = """\
pd.DataFrame([{"algorithm": each["algorithm"], **each["hyperparameters"]} for each in mine["candidates"]]).T"""

_STEPS = """\
## Prepare

`run` starts a script as its job does, without your credentials; `prepare` is the first step. `status.json` says
what there is."""

_RUN = """\
BARE = {"PATH": os.environ.get("PATH", os.defpath), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


def run(script, *arguments, message, **variables):
    \"\"\"Run a script of the city; what it prints is shown, and its own sentence where it fails.\"\"\"
    command = [sys.executable, "-B", str((FILES / "code" / script).resolve()), *map(str, arguments)]
    done = subprocess.run(command, env=BARE | variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, end="")
    if done.returncode:
        said = message.read_text("utf-8") if message.is_file() else f"exit code {done.returncode}"
        raise RuntimeError(f"{script}: {said}")


def write_settings(folder, step, asked):
    path = (folder / "settings" / step / "settings.json").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asked[step], indent=2, ensure_ascii=False), "utf-8")
    return path


def prepare(name, asked):
    \"\"\"Raw data become tables, in a folder of this name.\"\"\"
    folder = (FILES / "work" / name).resolve()
    message = folder / "message"
    path = write_settings(folder, "preprocess", asked)
    run(
        "preprocess.py", "--settings", path, "--raw-dir", (FILES / "raw").resolve(), "--output-dir", folder,
        "--message-file", message, message=message,
    )
    return folder


def read(folder, part, file):
    return json.loads((folder / part / f"city={CITY}" / file).read_text("utf-8"))


prepared = prepare("first", settings)
status = read(prepared, "report", "status.json")
print(status["status"], status["reason"])
pd.Series(status.get("rows"), name="rows")"""

_DATA = """\
## The data

What is known of the city, and the part on which models are judged."""

_SHOW_DATA = """\
parts = {
    part: pd.read_csv(prepared / part / f"city={CITY}" / f"{part}.csv") for part in ("train", "validation", "test")
}
history = prepared / "test" / f"city={CITY}" / "history.csv"
target = mine["dataset"]["target"]["column"]
figure, axes = plt.subplots(figsize=(10, 3.5))
if history.is_file():
    known = pd.read_csv(history, parse_dates=["period"]).set_index("period")
    axes.plot(known.index, known[target], linewidth=1, label=target)
    axes.axvspan(*pd.to_datetime(parts["test"]["period"]).agg(["min", "max"]), alpha=0.15, label="judged on")
else:
    for part, rows in parts.items():
        axes.hist(rows["target"], bins=30, alpha=0.5, density=True, label=part)
axes.set_title(target)
axes.legend()
plt.show()
parts["train"].describe().T"""

_TRAIN = """\
## Train

Script mode, as in the container: folders are variables. `training.json` says what was fitted."""

_RUN_TRAIN = """\
def train(folder, asked):
    \"\"\"Fit the city's candidates on its tables, and pack the best as SageMaker does.\"\"\"
    path = write_settings(folder, "train", asked)
    message = folder / "failure"
    variables = {f"SM_CHANNEL_{part.upper()}": str(folder / part) for part in job["parts"]}
    for part in ("model", "training"):
        (folder / part).mkdir(exist_ok=True)
    run(
        "train.py", message=message, SM_CHANNEL_SETTINGS=str(path.parent), SM_MODEL_DIR=str(folder / "model"),
        SM_OUTPUT_DATA_DIR=str(folder / "training"), SM_OUTPUT_DIR=str(folder), SM_NUM_CPUS="1", **variables,
    )
    (folder / "packed").mkdir(exist_ok=True)
    with tarfile.open(folder / "packed" / "model.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder / "model", arcname=".")
    return read(folder, "training", "training.json")


training = train(prepared, settings)
pd.json_normalize({name: value for name, value in training.items() if name != "candidates"}).T"""

_EVALUATE = """\
## Judge

The new model, what anybody could say without one, and the model that serves, on the same held-out rows."""

_RUN_EVALUATE = """\
def evaluate(folder, asked):
    \"\"\"Judge the model of a folder on its held-out rows.\"\"\"
    message = folder / "message"
    served = []
    for option, name in (("--champion-dir", "champion"), ("--parent-dir", "parent")):
        served += [option, (FILES / name).resolve()] if (FILES / name).is_dir() else []
    run(
        "evaluate.py", "--settings", write_settings(folder, "evaluate", asked), "--test-dir", folder / "test",
        "--model-dir", folder / "packed", *served, "--output-dir", folder, "--message-file", message, message=message,
    )
    return read(folder, "evaluation", "evaluation.json")


def metrics(**reports):
    \"\"\"A column for each report's model, then those of the models that it was held against.\"\"\"
    last = list(reports.values())[-1]
    columns = {name: report["challenger"] for name, report in reports.items()}
    columns |= {"serves": last["champion"]} if last.get("champion") else {}
    columns |= last["baselines"]
    named = list(next(iter(last["baselines"].values())))
    return pd.DataFrame({who: {name: each.get(name) for name in named} for who, each in columns.items()})


report = evaluate(prepared, settings)
metrics(first=report)"""

_MISSES = """\
## Where it is right, and where not

Forecasts and residuals of the held-out rows; of classes, the probability of what was true."""

_SHOW_MISSES = """\
def answers(folder):
    \"\"\"The held-out rows with their answers.\"\"\"
    return pd.DataFrame(read(folder, "evaluation", "holdout.json")["rows"]).drop(columns="values", errors="ignore")


def plot(rows, title):
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), width_ratios=(2, 1))
    if isinstance(rows["predicted"].iloc[0], dict):
        true = [probabilities.get(str(actual), 0.0) for actual, probabilities in zip(rows["actual"], rows["predicted"])]
        for actual, group in pd.Series(true).groupby(rows["actual"].to_numpy()):
            left.hist(group, bins=20, range=(0, 1), alpha=0.5, label=str(actual))
        left.set_title(f"{title}: probability of the true class")
        if rows["actual"].nunique() <= 8:
            left.legend()
        right.hist(true, bins=20, range=(0, 1))
        right.set_title("all classes")
    else:
        residuals = rows["actual"] - rows["predicted"]
        if "period" in rows and "step" in rows:
            at = pd.to_datetime(rows["period"])
            left.plot(at[rows["step"] == 1], rows["actual"][rows["step"] == 1], color="black", label="actual")
            for step, group in rows.groupby("step"):
                left.plot(at[group.index], group["predicted"], ".", alpha=0.7, label=f"forecast, step {step}")
            left.legend()
        else:
            left.plot(rows["predicted"], rows["actual"], ".", alpha=0.5)
            left.axline((rows["actual"].mean(),) * 2, slope=1, color="black", linewidth=1)
            left.set_xlabel("predicted")
            left.set_ylabel("actual")
        left.set_title(title)
        right.hist(residuals, bins=25)
        right.axvline(0, color="black", linewidth=1)
        right.set_title(f"actual - predicted, median {np.median(residuals):,.4g}")
    plt.show()


plot(answers(prepared), "first")"""

_IMPORTANCES = """\
## What it goes by

How much each feature counts in the model, as a share of all: of gain, of coefficients, or of what it loses when the
feature is shuffled, whatever its algorithm can say."""

_SHOW_IMPORTANCES = """\
counts = report.get("importances") or {"kind": "gain", "features": training.get("importance_gain", {})}
features = pd.Series(counts["features"], dtype=float).sort_values()
if features.empty:
    print(f"{training['algorithm']} does not say")
else:
    (features / features.sum()).tail(15).plot.barh(figsize=(8, 4), title=f"share of {counts['kind']}")
    plt.show()"""

_AGAIN = """\
## Another setting

Change what you like, and run the cell again. What proves good belongs in the fleet file: `./fleet try`
with `--set NAME=VALUE` asks the gate and prints the lines."""

_CHANGE = """\
def changed(asked, change):
    \"\"\"The settings of all steps, with a change made to the city's.\"\"\"
    other = copy.deepcopy(asked)
    for each in other.values():
        change(each["cities"][0])
    return other


def change(city):
    $change


second = changed(settings, change)
folder = prepare("second", second)
train(folder, second)
other = evaluate(folder, second)
plot(answers(folder), "second")
metrics(first=report, second=other)"""

_JOB = """\
## The same as a job on SageMaker

By the SDK's `ModelTrainer`, with the request that the city's DAG sends: same image, settings, instance, network and
limits. It gets the tables of above and the scripts of `$files`, and a name and tags of its own. With
`AWS_ENDPOINT_URL` set it runs on the local SageMaker; on AWS it costs some cents, so say so: `ON_AWS = True`."""

_UPLOAD = """\
import hashlib
import warnings

import boto3

ON_AWS = False
chosen, tables = settings, prepared  # or second, folder

request = copy.deepcopy(job["request"])
channels = {each["ChannelName"]: each["DataSource"]["S3DataSource"] for each in request["InputDataConfig"]}
aws = boto3.Session(region_name=job["region"])
runs = ON_AWS or "AWS_ENDPOINT_URL" in os.environ


def upload(body, uri):
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": job["kms_key"]} if job["kms_key"] else {}
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, **encrypted)


if runs:
    body = json.dumps(chosen["train"], indent=2, ensure_ascii=False).encode()
    place = channels["settings"]["S3Uri"].rstrip("/").rpartition("/")[0]  # its folder is named after what it holds
    channels["settings"]["S3Uri"] = f"{place}/{hashlib.sha256(body).hexdigest()[:16]}/"
    upload(body, channels["settings"]["S3Uri"] + "settings.json")
    for part in job["parts"]:
        for path in sorted(path for path in (tables / part).rglob("*") if path.is_file()):
            upload(path.read_bytes(), channels[part]["S3Uri"] + path.relative_to(tables / part).as_posix())
    for name in job["code"]:  # the archive last: where it is, the code is whole
        upload((FILES / "code" / name).read_bytes(), job["code_uri"] + name)
    upload((FILES / "sourcedir.tar.gz").read_bytes(), job["code_uri"] + "sourcedir.tar.gz")
else:
    print("AWS_ENDPOINT_URL leads to no local SageMaker; ON_AWS = True lets the job run on AWS.")"""

_TRAIN_JOB = """\
if runs:
    # A role that may no more than its jobs need lacks rights that the SDK asks for, such as for network interfaces.
    os.environ.setdefault("SAGEMAKER_VALIDATE_ROLE", "false")
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.training.configs import Channel, Compute, Networking, OutputDataConfig, StoppingCondition, Tag
    from sagemaker.core.utils.utils import pascal_to_snake
    from sagemaker.train import ModelTrainer

    def members(value):
        \"\"\"A part of the request, as the SDK spells it.\"\"\"
        return {
            pascal_to_snake(name): members(each) if isinstance(each, dict) else each for name, each in value.items()
        }

    network = members(request.get("VpcConfig", {}))
    if request.get("EnableInterContainerTrafficEncryption"):
        network["enable_inter_container_traffic_encryption"] = True
    # Nothing from a file of defaults on this machine, and no telemetry.
    defaults = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
    output = OutputDataConfig(**members(request["OutputDataConfig"]))
    trainer = ModelTrainer(
        sagemaker_session=Session(boto_session=aws, default_bucket=job["bucket"], sagemaker_config=defaults),
        training_image=request["AlgorithmSpecification"]["TrainingImage"],
        role=request["RoleArn"],
        base_job_name=job["name"],
        hyperparameters=request["HyperParameters"],
        compute=Compute(
            **members(request["ResourceConfig"]), enable_managed_spot_training=request["EnableManagedSpotTraining"]
        ),
        stopping_condition=StoppingCondition(**members(request["StoppingCondition"])),
        networking=Networking(**network) if network else None,
        output_data_config=output.model_copy(),
        tags=[Tag(**members(each)) for each in request["Tags"]],
    )
    warnings.filterwarnings("ignore", 'install "ipywidgets"')
    trainer.output_data_config = output  # the SDK has added a compression that nobody asked for
    trainer.train(input_data_config=[Channel(**members(each)) for each in request["InputDataConfig"]])
    trained = trainer._latest_training_job
    trained.refresh()
    bucket, _, key = trained.model_artifacts.s3_model_artifacts.removeprefix("s3://").partition("/")
    aws.client("s3").download_file(bucket, key, str(tables / "of-the-job.tar.gz"))
    with tarfile.open(tables / "of-the-job.tar.gz") as archive:
        made = {each.name.removeprefix("./"): archive.extractfile(each).read() for each in archive if each.isfile()}
    mine = {
        path.relative_to(tables / "model").as_posix(): path.read_bytes()
        for path in (tables / "model").rglob("*")
        if path.is_file()
    }
    print(trained.training_job_name, trained.training_job_status)
    print("its model has the bytes of the one above" if made == mine else "its model is another one than that above")"""

#: Kind and text, in order.
CELLS = (
    (MARKDOWN, _HEAD),
    (CODE, _IMPORTS),
    (MARKDOWN, _SETTINGS),
    (CODE, _SHOW_SETTINGS),
    (CODE, _SHOW_CANDIDATES),
    (MARKDOWN, _STEPS),
    (CODE, _RUN),
    (MARKDOWN, _DATA),
    (CODE, _SHOW_DATA),
    (MARKDOWN, _TRAIN),
    (CODE, _RUN_TRAIN),
    (MARKDOWN, _EVALUATE),
    (CODE, _RUN_EVALUATE),
    (MARKDOWN, _MISSES),
    (CODE, _SHOW_MISSES),
    (MARKDOWN, _IMPORTANCES),
    (CODE, _SHOW_IMPORTANCES),
    (MARKDOWN, _AGAIN),
    (CODE, _CHANGE),
    (MARKDOWN, _JOB),
    (CODE, _UPLOAD),
    (CODE, _TRAIN_JOB),
)
