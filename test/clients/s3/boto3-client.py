"""What boto3 can do here. Tells each step as one line of JSON: its name and what came of it."""

import json
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import ClientError

endpoint, bucket, large = sys.argv[1:]
s3 = boto3.client(
    "s3", endpoint_url=endpoint, config=Config(signature_version="s3v4", s3={"addressing_style": "path"})
)
PARTS = TransferConfig(multipart_threshold=5 * 1024 * 1024, multipart_chunksize=5 * 1024 * 1024)


def tell(step, result):
    print(json.dumps([step, result]))


def code(call):
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


s3.create_bucket(Bucket=bucket)
tell("buckets", [one["Name"] for one in s3.list_buckets()["Buckets"]])

s3.upload_file(
    large, bucket, "in/large.bin", Config=PARTS, ExtraArgs={"Metadata": {"of": "a"}, "ContentType": "a/b"}
)
s3.download_file(bucket, "in/large.bin", large + ".back", Config=PARTS)
with open(large, "rb") as sent, open(large + ".back", "rb") as received:
    tell("large", sent.read() == received.read())
head = s3.head_object(Bucket=bucket, Key="in/large.bin")
tell("head", [head["Metadata"], head["ContentType"], "-" in head["ETag"]])

names = [f"many/{n:02} +.txt" for n in range(25)]
for name in names:
    s3.put_object(Bucket=bucket, Key=name, Body=name)
pages = list(
    s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="many/", PaginationConfig={"PageSize": 10}
    )
)
tell("pages", [len(page["Contents"]) for page in pages])
tell("listed", [one["Key"] for page in pages for one in page["Contents"]] == names)
tell(
    "folders",
    [one["Prefix"] for one in s3.list_objects_v2(Bucket=bucket, Delimiter="/")["CommonPrefixes"]],
)

def tags(key):
    return [[one["Key"], one["Value"]] for one in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]]


s3.upload_file(large, bucket, "in/tagged.bin", Config=PARTS, ExtraArgs={"Tagging": "a=1&b=two%20words"})
source = {"Bucket": bucket, "Key": "in/tagged.bin"}
s3.copy_object(Bucket=bucket, Key="in/copy.bin", CopySource=source)
s3.copy_object(Bucket=bucket, Key="in/other.bin", CopySource=source, TaggingDirective="REPLACE", Tagging="c=3")
tell("tags", [tags(f"in/{name}.bin") for name in ("tagged", "copy", "other")])
s3.put_object_tagging(Bucket=bucket, Key="in/copy.bin", Tagging={"TagSet": [{"Key": "d", "Value": ""}]})
s3.delete_object_tagging(Bucket=bucket, Key="in/other.bin")
tell("changed tags", [tags(f"in/{name}.bin") for name in ("copy", "other")])
tell("tag count", s3.get_object(**source)["TagCount"])

url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": names[3]}, ExpiresIn=60)
with urllib.request.urlopen(url) as response:
    tell("presigned", response.read().decode() == names[3])

url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "by url.txt"}, ExpiresIn=60)
with urllib.request.urlopen(urllib.request.Request(url, data=b"by url", method="PUT")) as response:
    tell("presigned put", response.status)
tell("by url", s3.get_object(Bucket=bucket, Key="by url.txt")["Body"].read().decode())

post = s3.generate_presigned_post(
    bucket, "by form.txt", Conditions=[["content-length-range", 1, 10]], ExpiresIn=60
)


def send_form(body):
    lines = []
    for name, value in post["fields"].items():
        lines += ["--b", f'Content-Disposition: form-data; name="{name}"', "", value]
    lines += ["--b", 'Content-Disposition: form-data; name="file"; filename="a"', "", body, "--b--", ""]
    data = "\r\n".join(lines).encode()
    request = urllib.request.Request(
        post["url"], data=data, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    try:
        with urllib.request.urlopen(request) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


tell("presigned post", [send_form("by form"), send_form("longer than ten bytes")])
tell("by form", s3.get_object(Bucket=bucket, Key="by form.txt")["Body"].read().decode())


def put_if_absent(**headers):
    """Older versions of boto3 have no argument for it."""

    def add(request, **_):
        request.headers["If-None-Match"] = "*"

    s3.meta.events.register("before-sign.s3.PutObject", add)
    try:
        return code(lambda: s3.put_object(Bucket=bucket, Key="once.txt", Body="once"))
    finally:
        s3.meta.events.unregister("before-sign.s3.PutObject", add)


tell("conditional put", [put_if_absent(), put_if_absent()])
tell("no such key", code(lambda: s3.get_object(Bucket=bucket, Key="nothing")))

def lifecycle():
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return sorted(rule["ID"] for rule in rules), rules == RULES


RULES = [
    {
        "ID": "all",
        "Filter": {"And": {"Prefix": "logs/", "Tags": [{"Key": "kind", "Value": "draft"}]}},
        "Status": "Enabled",
        "Expiration": {"Days": 30},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 3},
    },
    {
        "ID": "uploads",
        "Filter": {"Prefix": ""},
        "Status": "Disabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
    },
]
s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": RULES})
tell("lifecycle", lifecycle())
s3.delete_bucket_lifecycle(Bucket=bucket)
tell("no lifecycle", code(lifecycle))

every = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in every]})
tell("deleted", len(answer["Deleted"]))
s3.delete_bucket(Bucket=bucket)
tell("bucket", code(lambda: s3.list_objects_v2(Bucket=bucket)))
