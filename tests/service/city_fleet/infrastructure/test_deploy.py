"""./fleet deploy against moto's CloudFormation, over HTTP.

moto makes buckets, keys, roles, policies, queues, rules and topics of a template, and lacks what AWS has beyond: it
carries a change set out within the call, lists (and in an update makes) what conditions leave out, sees no change of
parameters alone, gives no outputs, and makes no HTTP API, alarm, budget and bucket policy. What AWS answers then is in
test_change_set.py.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet.config import load_fleet
from city_fleet.infrastructure import deployment, large_template, template
from city_fleet.infrastructure.change_set import Stacks
from tests.support.account import account_client, running_account
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL

# It makes part of the resources only, as docs/infrastructure.md says.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

STACK = "small--laptop"
PRIVATE = "network: {subnets: [subnet-01234567], security_group_ids: [sg-01234567]}"


class Account:
    """An account, a fleet's folder, and the command line."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.path = url, folder / "small.yaml"
        self.folder = folder
        self.write("")

    def write(self, settings: str, text: str = SMALL) -> None:
        self.path.write_text(f"{text}{settings}\ncities: {{a: }}\n", encoding="utf-8")

    def deploy(self, *arguments: str, **environ: str) -> Done:
        variables = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "y",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
            "CITY_FLEET_FLEETS": str(self.folder),
        }
        return fleet("deploy", "--wait", "60", *arguments, **{**variables, **environ})

    def client(self, service: str) -> Any:
        return account_client(self.url, service)

    def unconditional(self) -> str:
        """The template without what is there under a condition only, but for bucket, key and role."""
        whole = template.template(load_fleet(self.path, {}))
        kept = {
            name: each
            for name, each in whole["Resources"].items()
            if each.get("Condition") in (None, "MakesBucket", "MakesKey", "MakesRole")
        }
        return template.as_body({**whole, "Resources": kept, "Outputs": {}})

    @property
    def stacks(self) -> list[str]:
        return [each["StackName"] for each in self.client("cloudformation").describe_stacks()["Stacks"]]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with running_account() as url:
        yield Account(url, tmp_path)


def test_a_stack_is_looked_at_made_kept_and_changed(account: Account) -> None:
    looked = account.deploy("--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert "small--laptop (us-east-1): " in looked.stdout
    assert "Add     Bucket " in looked.stdout
    assert account.stacks == [], "not even an empty stack is left"
    with pytest.raises(ClientError):
        account.client("s3").head_bucket(Bucket="small-data")

    unwanted = account.deploy()  # nobody answers the question
    assert unwanted.returncode == 1
    assert account.stacks == []

    made = account.deploy("--yes")
    assert made.returncode == 0, made.stderr
    assert made.stdout.endswith(f"{STACK}: done.\n")
    assert account.stacks == [STACK]
    encryption = account.client("s3").get_bucket_encryption(Bucket="small-data")
    (rule,) = encryption["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    queue = account.client("sqs").get_queue_url(QueueName="small--laptop--arrivals")["QueueUrl"]
    settings = account.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])[
        "Attributes"
    ]
    assert json.loads(settings["RedrivePolicy"])["deadLetterTargetArn"].endswith("--arrivals-failed")
    statements = role_statements(account)
    assert "arn:aws:s3:::small-data/small/laptop/models/*" in str(statements)
    assert "${" not in str(statements)

    again = account.deploy("--yes")
    assert (again.returncode, again.stdout) == (0, f"{STACK}: nothing to change.\n")

    account.write(PRIVATE)
    looked = account.deploy("--dry-run", "--json")
    assert looked.returncode == 0, looked.stderr
    report = json.loads(looked.stdout)
    assert ("Modify", "RolePolicy") in [(each["action"], each["resource"]) for each in report["changes"]]
    assert not report["executed"]
    assert "ec2:CreateNetworkInterface" not in str(role_statements(account))


def test_a_stack_is_updated_by_what_has_changed_alone(account: Account) -> None:
    """Of the template only what moto makes: an update of its has resources that a condition leaves out."""
    stacks = Stacks(account.client("cloudformation"), poll_seconds=0.1)
    made = stacks.prepare(STACK, account.unconditional(), {}, [])
    assert made.creates
    assert {change.action for change in made.changes} == {"Add"}
    stacks.execute(made, 60)
    assert "ec2:CreateNetworkInterface" not in str(role_statements(account))
    assert stacks.prepare(STACK, account.unconditional(), {}, []).name == ""

    account.write(PRIVATE)
    changed = stacks.prepare(STACK, account.unconditional(), {}, [])
    assert [(change.action, change.resource) for change in changed.changes] == [("Modify", "RolePolicy")]
    stacks.execute(changed, 60)
    assert "ec2:CreateNetworkInterface" in str(role_statements(account))


def role_statements(account: Account) -> list[dict[str, Any]]:
    found = account.client("iam").get_role_policy(RoleName="small", PolicyName=STACK)
    statements: list[dict[str, Any]] = found["PolicyDocument"]["Statement"]
    return statements


def test_what_is_there_stays_as_it_is(account: Account) -> None:
    """Two fleets in one bucket and under one role: the second one adds its own part and takes nothing over."""
    account.client("s3").create_bucket(Bucket="small-data")
    account.client("iam").create_role(
        RoleName="small", AssumeRolePolicyDocument="{}", Description="of another"
    )
    done = account.deploy("--yes")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ClientError, match="ServerSideEncryptionConfigurationNotFound"):
        account.client("s3").get_bucket_encryption(Bucket="small-data")
    assert account.client("iam").get_role(RoleName="small")["Role"]["Description"] == "of another"
    assert "arn:aws:s3:::small-data/small/laptop/models/*" in str(role_statements(account))
    assert "tells EventBridge nothing, so arrivals and moves go unnoticed" in done.stderr


def test_functions_are_put_into_the_bucket_that_is_there(account: Account, tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    folder.mkdir()
    assert "holds no predict.zip" in account.deploy("--functions", str(folder), "--yes").stderr
    (folder / "predict.zip").write_bytes(b"PK")
    early = account.deploy("--functions", str(folder), "--yes")
    assert early.returncode == 1
    assert "bucket small-data is not there yet: deploy without --functions first" in early.stderr
    s3 = account.client("s3")
    s3.create_bucket(Bucket="small-data")
    fleet_of = load_fleet(account.path, {})
    for _ in range(2):
        codes = deployment.function_codes(fleet_of, folder, {"predict": "PredictCode"})
        deployment.upload(fleet_of, s3, codes)
    (listed,) = s3.list_object_versions(Bucket="small-data")["Versions"]
    assert listed["Key"] == codes[0].key
    assert listed["Key"].startswith("small/laptop/functions/predict-")


def test_a_template_too_large_for_a_request_is_read_from_the_bucket(account: Account) -> None:
    """The bucket is made first, since the template lies there as long as CloudFormation reads it."""
    long = "a_fleet_with_a_name_of_32_letter"
    text = SMALL.replace("fleet: small", f"fleet: {long}\nenvironment: {long}")
    account.write(f"{PRIVATE}\nforecasts: {{catalog: true}}", text)
    body = template.as_body(template.template(load_fleet(account.path, {})))
    assert large_template.is_large(body)

    looked = account.deploy("--dry-run", "--json")
    assert looked.returncode == 0, looked.stderr
    assert f"The template has {len(body)} bytes." in looked.stderr
    report = json.loads(looked.stdout)
    assert [each["resource"] for each in report["changes"]] == ["Bucket", "BucketPolicy", "Key", "KeyAlias"]
    assert (report["whole"], report["executed"], account.stacks) == (False, False, [])

    made = account.deploy("--yes")
    assert made.returncode == 0, made.stderr
    assert " (us-east-1): 4 resources would be made." in made.stdout
    queues = account.client("sqs").list_queues()["QueueUrls"]
    assert len(queues) == 2, "the second part is there too"
    assert objects(account) == [], "not even a version of the template is left"


def objects(account: Account) -> list[str]:
    found = account.client("s3").list_object_versions(Bucket="small-data")
    return [each["Key"] for each in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]]


def test_what_can_not_be_done_is_a_sentence(account: Account) -> None:
    account.write("", SMALL.replace("123456789012", "999999999999"))
    other = account.deploy("--dry-run")
    assert other.returncode == 1
    assert (
        "these credentials are of account 123456789012, and the fleet file's role is of account 999999999999"
        in (other.stderr)
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = account.deploy("--dry-run", AWS_ENDPOINT_URL=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert away.returncode == 1
    assert "Traceback" not in away.stderr
    assert len(away.stderr.splitlines()) == 1
    assert account.deploy("--json").returncode == 2
    assert account.stacks == []


def test_the_template_needs_no_account(account: Account) -> None:
    done = account.deploy("--template", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert done.returncode == 0
    assert json.loads(done.stdout)["Description"] == "City Fleet: small, laptop"
