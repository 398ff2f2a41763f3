#!/usr/bin/env python3
"""infrastructure.py --cfn-lint EXE --infra DIR --functions DIR: what deploys Inlet, against what its makers publish and what is promised of it.

  template    cfn-lint has nothing to say of the AWS template; with a lake and without one it names nothing that is not made, rights, queues
              and logs are as the README says, and managed tables take nothing of a lake
  functions   host.json and function.json: queues, timers and names are those that are deployed
  terraform   the Azure module names only what azurerm (azurerm.json: its resources, with `!` behind what must be given) has, and all that it
              needs; what is a lake's is made only with one

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


NOTHING = {"!Ref": "AWS::NoValue"}
WORKSPACE = {"LandingBucket": "landing", "WorkspaceUrl": "https://dbc-1.cloud.databricks.com", "ClientSecretArn": "arn:aws:secretsmanager:eu-west-1:1:secret:a"}
FORMS = {"with a lake": {**WORKSPACE, "LakeBucket": "lake"}, "managed tables": {**WORKSPACE, "SettingsObject": "settings/inlet.toml"}, "no workspace": {"LakeBucket": "lake"}}


def argued(value):
    """A function of CloudFormation, its name without marks, and its argument; nothing of the kind: None."""
    if isinstance(value, dict) and len(value) == 1:
        (name, argument), = value.items()
        return name.removeprefix("!").removeprefix("Fn::"), argument
    return None, None


def settled(condition, conditions, given) -> bool:
    name, argument = argued(condition)
    judge = lambda one: settled(one, conditions, given)
    if name == "Equals":
        one, other = (str(given.get(argued(side)[1])) if isinstance(side, dict) else side for side in argument)
        return one == other
    return {"Condition": lambda: judge(conditions[argument]), "Not": lambda: not judge(argument[0]), "And": lambda: all(map(judge, argument)), "Or": lambda: any(map(judge, argument))}[name]()


def chosen(value, so):
    """What stands in a template when its conditions are settled."""
    name, argument = argued(value)
    if name == "If":
        return chosen(argument[1 if so[argument[0]] else 2], so)
    if isinstance(value, dict):
        return {key: chosen(one, so) for key, one in value.items() if chosen(one, so) != NOTHING}
    if isinstance(value, list):
        return [chosen(one, so) for one in value if chosen(one, so) != NOTHING]
    return value


def names(value):
    """What is referred to: resources and parameters."""
    name, argument = argued(value)
    if name == "Ref":
        yield argument
    elif name == "GetAtt":
        yield argument.split(".")[0]
    elif name == "Sub":
        yield from (one.split(".")[0] for one in re.findall(r"\$\{([^!}]+)\}", argument))
    else:
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from names(one)


def words(value) -> list:
    return value if isinstance(value, list) else [value]


def template(file: Path, cfn_lint: str):
    lint = subprocess.run([cfn_lint, "-r", "eu-west-1", "-t", str(file)], capture_output=True, text=True)
    holds("cfn-lint:", lint.returncode == 0, lint.stdout + lint.stderr)
    whole = yaml.load(file.read_text(), Loader)
    for name, parameter in whole["Parameters"].items():
        holds(f"{name} has no description", parameter.get("Description"))
    for title, given in FORMS.items():
        before = len(bad)
        form(whole, {**{name: one.get("Default") for name, one in whole["Parameters"].items()}, **given})
        bad[before:] = [f"{title}: {one}" for one in bad[before:]]
    settings_known(whole["Globals"]["Function"]["Environment"]["Variables"], file)


def form(whole, given):
    """The template as it is with these parameters."""
    so = {name: settled(one, whole["Conditions"], given) for name, one in whole["Conditions"].items()}
    made = lambda part: {name: chosen(one, so) for name, one in whole[part].items() if so.get(one.get("Condition"), True)}
    resources, shared = made("Resources"), chosen(whole["Globals"]["Function"], so)
    of = lambda kind: {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}
    used = {name for name in names([resources, shared, made("Outputs")]) if not name.startswith("AWS::")}
    holds("names what is not made:", used <= {*resources, *given}, used - {*resources, *given})
    lake = {"LakeBucket", "LakePrefix"} & used
    holds("the lake's names:", bool(lake) == bool(given["LakeBucket"]), lake)
    holds("the queue of notes:", ("Behind" in resources) == ("EvolveBehind" in resources) == bool(given["LakeBucket"] and given["WorkspaceUrl"]))
    if not given["LakeBucket"]:
        evolve, variables = resources["Evolve"]["Properties"], shared["Environment"]["Variables"]
        every, rate = variables["INLET_EVERY"], evolve["Events"]["Tick"]["Properties"]["ScheduleExpression"]
        holds("evolve comes as often as a window opens:", (every, rate) == ({"!Sub": "${EveryMinutes}m"}, {"!Sub": "rate(${EveryMinutes} minutes)"}), (every, rate))
        holds("a window has all the time there is:", evolve["Timeout"] == 900, evolve["Timeout"])
        holds("a lake is told:", "INLET_LAKE" not in variables)
    policies = {name: one["PolicyDocument"] for name, one in of("AWS::IAM::ManagedPolicy").items()}
    policies |= {f"{name}.{one['PolicyName']}": one["PolicyDocument"] for name, role in of("AWS::IAM::Role").items() for one in role.get("Policies", [])}
    for name, policy in policies.items():
        for one in policy["Statement"]:
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
        mapped = [("SQS", {**mapping, "Queue": mapping["EventSourceArn"]}) for mapping in of("AWS::Lambda::EventSourceMapping").values() if mapping["FunctionName"] == {"!Ref": name}]
        for kind, properties in [*((event["Type"], event["Properties"]) for event in one.get("Events", {}).values()), *mapped]:
            if kind == "SQS":
                queue = queues[properties["Queue"]["!GetAtt"].split(".")[0]]
                window = properties["MaximumBatchingWindowInSeconds"]
                window = whole["Parameters"][window["!Ref"]]["MaxValue"] if isinstance(window, dict) else window
                least = 6 * one["Timeout"] + window
                holds(f"{name}: a message is taken for lost after {queue['VisibilityTimeout']} s, before {least}", queue["VisibilityTimeout"] >= least)
                holds(f"{name}: one message fails its batch", properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"])
                holds(f"{name}: without dead letters", queue["RedrivePolicy"]["maxReceiveCount"] >= 5)
            else:
                holds(f"{name}: a schedule asks for something else", json.loads(properties["Input"]) == {"action": name.lower()})


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
                        told = json.dumps(block)
                        with_lake = any(condition in block.get("count", "") for condition in ("local.has_lake", "local.has_notes"))
                        holds(f"{text(resource)}.{text(name)} is made without the lake that it names", with_lake or not re.search(r"var\.lake_|local\.lake_url", told))
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
