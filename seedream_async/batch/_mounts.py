"""
Which file system a path is on, as Linux tells it, and whether that one is far away.

Nothing here reads: the text of `/proc/self/mountinfo` is handed in.
"""

from __future__ import annotations

import re

_NETWORK = re.compile(
    r"""
    nfs\d? | cifs | smb\w* | 9p | afs | ceph | ncpfs? | coda | lustre | gpfs | beegfs | panfs
    | glusterfs | orangefs | davfs\d?
    | fuse\.(sshfs|rclone|s3fs|s3backer|goofys|gcsfuse|mount-?s3|mountpoint-s3|blobfuse\d?
        |glusterfs|ceph|ceph-fuse|cephfs|juicefs|davfs\d?|curlftpfs|smbnetfs|gvfsd-fuse|moosefs
        |mfs|seaweedfs|hdfs|fuse_dfs|onedrive|google-drive-ocamlfuse)
    | fuse_?(sshfs|rclone|s3fs|gcsfuse)
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


def is_network(kind: str) -> bool:
    """Whether a file system of this *kind* lies on another machine."""
    return _NETWORK.fullmatch(kind) is not None


def kind_at(path: str, mountinfo: str) -> str | None:
    """The kind of file system that *path*, absolute and without links, is on, if it is told."""
    best, kind = "", None
    for line in mountinfo.splitlines():
        point, found = _parse(line)
        # Of two mounts at one place, the later hides the earlier.
        if found and _lies_in(path, point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def _parse(line: str) -> tuple[str, str | None]:
    """The mount point and the kind in *line*; see proc(5): fields, a lone hyphen, the kind."""
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    if len(fields) < 6 or not after:
        return "", None
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]), after.split(" ")[0]


def _lies_in(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
