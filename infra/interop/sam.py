"""Runs AWS's own SAM transform over the template named by the argument and
prints the CloudFormation template that it makes, as JSON. No network, no keys."""

import json
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """What the transform asks for AWS's managed policies: ours names none."""

    def load(self):
        return {}


with open(sys.argv[1], encoding="utf-8") as file:
    template = yaml_parse(file.read())
# `sam package` puts the built function here.
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/function.zip"
parameters = {name: p.get("Default", "") for name, p in template["Parameters"].items()}
json.dump(transform(template, parameters, NoManagedPolicies()), sys.stdout, indent=1, default=str)
