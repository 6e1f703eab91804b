"""
Puts images into a store by means of boto3, and signs links to them as it signs them for anyone.

A script for `tests/peers/store.py`, in a Python that has boto3. The argument is the URL of the
store; the images come in as JSON, base64 by key, and the links go out as JSON, by scheme.
"""

import base64
import json
import sys
from datetime import UTC, datetime, timedelta
from unittest import mock

import boto3
from botocore.config import Config

BUCKET = "images"
SCHEMES = {"SigV4": "s3v4", "SigV2": "s3"}


def client(url, scheme="SigV4", user="test:owner"):
    config = Config(signature_version=SCHEMES[scheme], s3={"addressing_style": "path"})
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=user,
        aws_secret_access_key="secret",
        config=config,
    )


def put(s3, images):
    """Put *images* into a new bucket, under keys of exactly these characters."""
    s3.create_bucket(Bucket=BUCKET)
    for key, content in images.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=base64.b64decode(content))

    listed = {found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert listed == set(images), listed ^ set(images)


def sign(s3, key):
    return s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})


def sign_yesterday(s3, key):
    then = datetime.now(UTC) - timedelta(days=1)
    naive = then.replace(tzinfo=None)
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=naive),
        mock.patch("time.time", return_value=then.timestamp()),
    ):
        return sign(s3, key)


def links_of(url, scheme, keys):
    owner, stranger = client(url, scheme), client(url, scheme, "test:stranger")
    return {
        "good": {key: sign(owner, key) for key in keys},
        "expired": sign_yesterday(owner, keys[0]),
        "of nothing": sign(owner, "nothing"),
        "of a stranger": sign(stranger, keys[0]),
    }


def main(url):
    images = json.load(sys.stdin)
    put(client(url), images)
    json.dump({scheme: links_of(url, scheme, list(images)) for scheme in SCHEMES}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
