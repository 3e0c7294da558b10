#!/usr/bin/python3
"""The OCI runtime that engines are given here: crun or runc, without what some hosts allow nobody.

A container or a virtual machine may not give its root the right to raise rlimits, nor cgroup controllers. What is
asked for of these is left out where it cannot be had, and kept where it can.
"""

import json
import os
import sys

SYS_RESOURCE = 24
CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"


def may_raise_limits():
    """Whether root has CAP_SYS_RESOURCE here."""
    with open("/proc/self/status") as file:
        effective = next(line.split()[1] for line in file if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> SYS_RESOURCE & 1)


def has_controllers():
    """Whether memory can be limited: always where cgroups are of version 1."""
    if not os.path.exists(CONTROLLERS):
        return True
    with open(CONTROLLERS) as file:
        return "memory" in file.read().split()


def without_limits(process):
    """Leaves out what would have to be raised."""
    if not may_raise_limits():
        process.pop("rlimits", None)
        process.pop("oomScoreAdj", None)


def change(path, how):
    """Rewrites a file of JSON."""
    with open(path) as file:
        content = json.load(file)
    how(content)
    with open(path, "w") as file:
        json.dump(content, file)


def container(config):
    """What is left out of a container."""
    without_limits(config.get("process", {}))
    if not has_controllers():
        config.get("linux", {}).pop("resources", None)


arguments = sys.argv[1:]
if "--bundle" in arguments:
    change(os.path.join(arguments[arguments.index("--bundle") + 1], "config.json"), container)
if "--process" in arguments:
    change(arguments[arguments.index("--process") + 1], without_limits)
# crun takes no tree of both versions of cgroups that has controllers in the second.
runtime = "/usr/bin/crun" if os.path.exists(CONTROLLERS) else "/usr/sbin/runc"
os.execv(runtime, [os.path.basename(runtime), *arguments])
