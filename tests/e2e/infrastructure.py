#!/usr/bin/env python3
"""infrastructure.py --cfn-lint EXE --infra DIR --functions DIR: what deploys Inlet, against what its makers publish and what is promised of it.

  template    cfn-lint has nothing to say of the AWS template; rights, queues and logs are as the README says
  functions   host.json and function.json: queues, timers and names are those that are deployed
  terraform   the Azure module names only what azurerm (azurerm.json: its resources, with `!` behind what must be given) has, and all that it needs

Exit 1 with what differs. Needs requirements.txt."""
from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hcl2
import yaml

HERE = Path(__file__).resolve().parent
META = {"count", "for_each", "depends_on", "lifecycle", "provider", "__is_block__"}
bad: list[str] = []


def holds(what, fine, told=""):
    if not fine:
        bad.append(f"{what} {told}".strip())


# ---- AWS


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, kept as {"!Name": argument}."""


def short(loader, name, node):
    read = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence, yaml.MappingNode: loader.construct_mapping}[type(node)]
    return {f"!{name}": read(node) if isinstance(node, yaml.ScalarNode) else read(node, deep=True)}


Loader.add_multi_constructor("!", short)


def statements(policy):
    for one in policy["Statement"]:
        yield one["Fn::If"][1] if "Fn::If" in one else one


def words(value) -> list:
    return value if isinstance(value, list) else [value]


def template(file: Path, cfn_lint: str):
    lint = subprocess.run([cfn_lint, "-r", "eu-west-1", "-t", str(file)], capture_output=True, text=True)
    holds("cfn-lint:", lint.returncode == 0, lint.stdout + lint.stderr)
    whole = yaml.load(file.read_text(), Loader)
    resources, shared = whole["Resources"], whole["Globals"]["Function"]
    of = lambda kind: {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}
    for name, parameter in whole["Parameters"].items():
        holds(f"{name} has no description", parameter.get("Description"))
    policies = {name: one["PolicyDocument"] for name, one in of("AWS::IAM::ManagedPolicy").items()}
    policies |= {f"{name}.{one['PolicyName']}": one["PolicyDocument"] for name, role in of("AWS::IAM::Role").items() for one in role.get("Policies", [])}
    for name, policy in policies.items():
        for one in statements(policy):
            for action in words(one["Action"]):
                holds(f"{name} allows {action}", "*" not in action)
                resource = json.dumps(one["Resource"])
                holds(f"{name} allows {action} on everything", resource != '"*"')
                own = all(any(place in json.dumps(one) for place in ("/_inlet/*", "/inlet_connect_*")) for one in words(one["Resource"]))
                holds(f"{name} allows {action} on {resource}", own or not action.startswith("s3:Delete") or name == "MaintainRole.maintain")
    for name, one in of("AWS::SQS::QueuePolicy").items():
        for allowed in one["PolicyDocument"]["Statement"]:
            named = {key for condition in allowed["Condition"].values() for key in condition}
            holds(f"{name} lets others send", named == {"aws:SourceArn", "aws:SourceAccount"}, named)
    queues = of("AWS::SQS::Queue")
    for name, one in of("AWS::Serverless::Function").items():
        logs = one["LoggingConfig"]["LogGroup"]["!Ref"]
        holds(f"{name} keeps its logs for ever", "RetentionInDays" in resources[logs]["Properties"])
        holds(f"{name} shares a role", one["Role"] == {"!GetAtt": f"{name}Role.Arn"}, one["Role"])
        for event in one.get("Events", {}).values():
            properties = event["Properties"]
            if event["Type"] == "SQS":
                queue = queues[properties["Queue"]["!GetAtt"].split(".")[0]]
                window = properties["MaximumBatchingWindowInSeconds"]
                window = whole["Parameters"][window["!Ref"]]["MaxValue"] if isinstance(window, dict) else window
                least = 6 * one["Timeout"] + window
                holds(f"{name}: a message is taken for lost after {queue['VisibilityTimeout']} s, before {least}", queue["VisibilityTimeout"] >= least)
                holds(f"{name}: one message fails its batch", properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"])
                holds(f"{name}: without dead letters", queue["RedrivePolicy"]["maxReceiveCount"] >= 5)
            else:
                holds(f"{name}: a schedule asks for something else", json.loads(properties["Input"]) == {"action": name.lower()})
    settings_known(shared["Environment"]["Variables"], file)


def settings_known(names, file):
    page = (HERE.parents[1] / "docs/settings.md").read_text()
    for name in names:
        holds(f"{file}: {name} is no variable of docs/settings.md", not name.startswith("INLET_") or f"`{name}`" in page)


# ---- Azure


def functions(folder: Path, deployed: str):
    host = json.loads((folder / "host.json").read_text())
    holds("host.json: messages come decoded by the host", host["extensions"]["queues"]["messageEncoding"] == "none")
    holds("host.json: HTTP is passed on", host["customHandler"]["enableForwardingHttpRequest"] is False)
    for file in sorted(folder.glob("*/function.json")):
        name, (trigger, *more) = file.parent.name, json.loads(file.read_text())["bindings"]
        holds(f"{name}: no function of Inlet's", name.split("_")[0] in ("ingest", "evolve", "backfill", "connect", "maintain"))
        holds(f"{name}: more than one input", not [one for one in more if one["direction"] == "in"])
        if trigger["type"] == "queueTrigger":
            holds(f"{name}: nobody makes the queue {trigger['queueName']}", f'name               = "{trigger["queueName"]}"' in deployed)
        for setting in re.findall("%(.+?)%", json.dumps(trigger)):
            holds(f"{name}: nobody sets {setting}", re.search(rf"^\s*{setting}\s*=", deployed, re.M))


def text(value):
    """python-hcl2 keeps the quotes."""
    return value.strip('"') if isinstance(value, str) else value


def check_block(where, block, known):
    dynamic = {text(name): inner["content"][0] for one in block.get("dynamic", []) for name, inner in one.items()}
    given = {**{text(name): value for name, value in block.items() if name != "dynamic"}, **{name: [inner] for name, inner in dynamic.items()}}
    required = {name[:-1] for name in known if name.endswith("!")}
    every = {name.rstrip("!"): inner for name, inner in known.items()}
    for name, value in given.items():
        if name in META:
            continue
        holds(f"{where} has no {name}", name in every)
        if isinstance(value, list) and value and isinstance(value[0], dict) and value[0].get("__is_block__"):
            for inner in value:
                check_block(f"{where}.{name}", inner, every.get(name) or {})
    holds(f"{where} lacks", not required - set(given), sorted(required - set(given)))


def terraform(folder: Path):
    known = json.loads((HERE / "azurerm.json").read_text())["types"]
    parsed = {file.name: hcl2.loads(file.read_text()) for file in sorted(folder.glob("*.tf"))}
    source, declared = "".join(file.read_text() for file in sorted(folder.glob("*.tf"))), set()
    for file in parsed.values():
        for one in file.get("variable", []):
            for name, variable in one.items():
                declared.add(text(name))
                holds(f"variable {name} lacks a description or a type", text(variable.get("description", "")) and variable.get("type"))
        for kind in ("resource", "data"):
            for one in file.get(kind, []):
                for resource, named in one.items():
                    for name, block in named.items():
                        check_block(f"{text(resource)}.{text(name)}", block, known[f"{kind} {text(resource)}"])
    used = set(re.findall(r"\bvar\.(\w+)", source))
    holds("variables that are not declared, or not used:", used == declared, used ^ declared)
    if shutil.which("terraform"):
        form = subprocess.run(["terraform", "fmt", "-check", "-diff", str(folder)], capture_output=True, text=True)
        holds("terraform fmt:", form.returncode == 0, form.stdout)
    settings_known(re.findall(r"^\s*(INLET_\w+)\s*=", source, re.M), folder)


def main() -> int:
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--cfn-lint", required=True)
    a.add_argument("--infra", required=True, type=Path)
    a.add_argument("--functions", required=True, type=Path)
    o = a.parse_args()
    template(o.infra / "aws/template.yaml", o.cfn_lint)
    functions(o.functions, "".join(file.read_text() for file in (o.infra / "azure").glob("*.tf")))
    terraform(o.infra / "azure")
    for line in bad:
        print(line)
    print(f"{len(bad)} differences{'' if shutil.which('terraform') else '; SKIPPED terraform fmt: there is no terraform'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
