#!/usr/bin/python3
"""The OCI runtime that containerd is given here: crun, without what some hosts allow nobody.

Limits of resources, rules about devices and changes of rlimits need rights and cgroup controllers that a
container or a virtual machine may not give its root. The containers of these tests need none of them.
"""

import json
import os
import sys

arguments = sys.argv[1:]
if "--bundle" in arguments:
    path = os.path.join(arguments[arguments.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    config.get("process", {}).pop("rlimits", None)
    config.get("process", {}).pop("oomScoreAdj", None)
    config.get("linux", {}).pop("resources", None)
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("/usr/bin/crun", ["crun", *arguments])
