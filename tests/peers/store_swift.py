"""
An OpenStack Swift that speaks S3, in one process, on loopback: it verifies what S3 verifies.

A script for `.ci/store`. The argument is a folder for its configuration and its databases; the
objects are in memory, since not every file system has the extended attributes that Swift needs.
Once requests are taken, the URL of the store is printed.
"""

import logging
import sys
import textwrap
from pathlib import Path

import eventlet
import eventlet.wsgi
from swift.common import utils
from swift.common.ring import RingBuilder
from swift.common.wsgi import SwiftHttpProtocol, loadapp

HOST, DEVICE = "127.0.0.1", "disk"
BACKENDS = {"account": "account", "container": "container", "object": "mem_object"}
BACKEND = """
    [DEFAULT]
    devices = {folder}
    mount_check = false

    [app:main]
    use = egg:swift#{app}
"""
# The second user may do nothing with what belongs to the first.
PROXY = """
    [DEFAULT]
    swift_dir = {folder}

    [pipeline:main]
    pipeline = s3api tempauth proxy-server

    [filter:s3api]
    use = egg:swift#s3api
    location = us-east-1

    [filter:tempauth]
    use = egg:swift#tempauth
    user_test_owner = secret .admin
    user_test_stranger = secret

    [app:proxy-server]
    use = egg:swift#proxy
    account_autocreate = true
"""


def write_ring(folder, name, port):
    """The ring that finds everything on one device, behind *port*."""
    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    place = {"region": 1, "zone": 1, "weight": 1, "device": DEVICE, "ip": HOST, "port": port}
    builder.add_dev({**place, "replication_ip": HOST, "replication_port": port})
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def serve(folder, name, text, listener):
    """Start the server that *text* configures, without waiting for it."""
    path = folder / f"{name}.conf"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    eventlet.spawn(
        eventlet.wsgi.server,
        listener,
        loadapp(str(path)),
        utils.NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
    )


def main(folder):
    utils.monkey_patch()
    utils.HASH_PATH_SUFFIX = b"tests"  # in the place of the machine's own swift.conf
    logging.disable()  # it would write to the machine's syslog
    (folder / DEVICE).mkdir(parents=True)
    for name, app in BACKENDS.items():
        listener = eventlet.listen((HOST, 0))
        write_ring(folder, name, listener.getsockname()[1])
        serve(folder, name, BACKEND.format(folder=folder, app=app), listener)
    listener = eventlet.listen((HOST, 0))
    serve(folder, "proxy", PROXY.format(folder=folder), listener)
    sys.stdout.write(f"http://{HOST}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    eventlet.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
