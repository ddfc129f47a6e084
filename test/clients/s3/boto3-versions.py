"""What boto3 can do with versions here. Tells each step as one line of JSON: its name and what came of it."""

import json
import sys

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError

endpoint, bucket = sys.argv[1:]
s3 = boto3.client(
    "s3", endpoint_url=endpoint, config=Config(signature_version="s3v4", s3={"addressing_style": "path"})
)
store = boto3.resource(
    "s3", endpoint_url=endpoint, config=Config(signature_version="s3v4", s3={"addressing_style": "path"})
)


def tell(step, result):
    print(json.dumps([step, result]))


def code(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def text(key, version=None):
    chosen = {} if version is None else {"VersionId": version}
    return s3.get_object(Bucket=bucket, Key=key, **chosen)["Body"].read().decode()


s3.create_bucket(Bucket=bucket)
tell("before", s3.get_bucket_versioning(Bucket=bucket).get("Status"))
s3.put_object(Bucket=bucket, Key="a", Body="of before")
s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
tell("after", s3.get_bucket_versioning(Bucket=bucket)["Status"])

ids = [s3.put_object(Bucket=bucket, Key="a", Body=f"text {n}")["VersionId"] for n in range(3)]
tell("read", [text("a", one) for one in ["null", *ids]])
marker = s3.delete_object(Bucket=bucket, Key="a")
tell("marker", [marker["DeleteMarker"], marker["VersionId"] not in ids])
tell("hidden", code(lambda: s3.get_object(Bucket=bucket, Key="a")))
tell("by id", code(lambda: s3.get_object(Bucket=bucket, Key="a", VersionId=marker["VersionId"])))

source = {"Bucket": bucket, "Key": "a", "VersionId": ids[0]}
back = s3.copy_object(Bucket=bucket, Key="a", CopySource=source)
tell("brought back", [text("a"), back["CopySourceVersionId"] == ids[0], text("a", back["VersionId"])])

for n in range(20):
    s3.put_object(Bucket=bucket, Key=f"many/{n:02} +.txt", Body="x")
pages = s3.get_paginator("list_object_versions").paginate(
    Bucket=bucket, EncodingType="url", PaginationConfig={"PageSize": 7}
)
found = [page for page in pages]
tell("pages", [len(page.get("Versions", [])) + len(page.get("DeleteMarkers", [])) for page in found])
tell("latest", sum(one["IsLatest"] for page in found for one in page["Versions"]))

objects = [{"Key": "a", "VersionId": one} for one in ["null", ids[1], marker["VersionId"]]]
gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
tell("deleted", [len(gone["Deleted"]), gone.get("Errors", [])])
tell("left", [one.id for one in store.Bucket(bucket).object_versions.filter(Prefix="a")] == [back["VersionId"], ids[2], ids[0]])

tell("not empty", code(lambda: s3.delete_bucket(Bucket=bucket)))
store.Bucket(bucket).object_versions.delete()
s3.delete_bucket(Bucket=bucket)
tell("bucket", code(lambda: s3.list_object_versions(Bucket=bucket)))
