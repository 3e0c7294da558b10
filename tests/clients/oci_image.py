"""Makes an image of one layer out of a folder: oci_image.py FOLDER NAME OUTPUT COMMAND..."""

import hashlib
import io
import json
import sys
import tarfile

folder, name, output, *command = sys.argv[1:]
OCI = "application/vnd.oci.image"


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def descriptor(kind, blob, **more):
    return {"mediaType": f"{OCI}.{kind}", "digest": digest(blob), "size": len(blob), **more}


def encode(value):
    return json.dumps(value).encode()


packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w") as archive:
    archive.add(folder, arcname=".")
layer = packed.getvalue()
config = encode(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
)
manifest = encode(
    {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer)],
    }
)
named = {"annotations": {"io.containerd.image.name": name}}
index = encode({"schemaVersion": 2, "manifests": [descriptor("manifest.v1+json", manifest, **named)]})

with tarfile.open(output, "w") as archive:
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    files |= {"blobs/sha256/" + digest(blob).split(":")[1]: blob for blob in (layer, config, manifest)}
    for path, blob in files.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(blob)
        archive.addfile(entry, io.BytesIO(blob))
