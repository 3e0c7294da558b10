"""Reads manifests in YAML, and prints them as an array in JSON. Those of Kubernetes' own API have to fit the
schemas of every version that is named, and may have no field that these do not know."""

import json
import sys

import kubernetes_validate
import yaml

documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
for document in documents:
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        continue
    for version in sys.argv[1:]:
        kubernetes_validate.validate(document, version, strict=True)
json.dump(documents, sys.stdout)
