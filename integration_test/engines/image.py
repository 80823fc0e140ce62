# SPDX-License-Identifier: Apache-2.0
"""An image without a registry: busybox, as a docker archive, which every engine reads."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

from harness import IMAGE

# What a pod's own process runs.
PAUSE = "localhost/pause:1"
BUSYBOX = "/bin/busybox"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
GROUP = "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"


def add(tar, name, kind=tarfile.REGTYPE, data=b"", mode=0o755, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, len(data), link
    tar.addfile(info, io.BytesIO(data))


def layer(path):
    """The root filesystem: one program, and a link to it for each of its names."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with tarfile.open(path, "w") as tar:
        for name in ("bin", "dev", "etc", "home/user", "proc", "root", "sys", "usr/bin", "var"):
            add(tar, name, tarfile.DIRTYPE)
        add(tar, "tmp", tarfile.DIRTYPE, mode=0o1777)
        add(tar, "bin/busybox", data=Path(BUSYBOX).read_bytes())
        for applet in applets:
            if applet != "busybox":
                add(tar, f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
        add(tar, "bin/setuid", data=Path(BUSYBOX).read_bytes(), mode=0o4755)
        add(tar, "etc/passwd", data=PASSWD.encode(), mode=0o644)
        add(tar, "etc/group", data=GROUP.encode(), mode=0o644)


def archive(directory, name=IMAGE, command=("sh",)):
    """Writes layer.tar and the docker archive image.tar, and gives the archive's path."""
    directory.mkdir(parents=True, exist_ok=True)
    root, image = directory / "layer.tar", directory / "image.tar"
    layer(root)
    digest = hashlib.sha256(root.read_bytes()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox"}],
        }
    ).encode()
    file = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(image, "w") as tar:
        add(tar, file, data=config, mode=0o644)
        add(tar, "layer.tar", data=root.read_bytes(), mode=0o644)
        add(tar, "manifest.json", data=json.dumps(manifest).encode(), mode=0o644)
    return image
